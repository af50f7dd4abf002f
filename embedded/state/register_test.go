package state

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// What a job's claim is to those who ask for it, whichever server they ask: one register, which holds who has the job and up
// to where it is decided, and by which claim. A place is told from all others, before and after, by its number, which grows.
type register struct {
	place  int64
	cursor time.Duration // since the beginning
	holder holding
}

// holding is what the cursor was moved by last.
type holding struct {
	place int64
	pass  bool
}

// asked is a call, and told its answer.
type asked struct {
	kind  string // claim, pass, move or look
	place int64  // by which it is claimed or passed, or from which it is moved
	to    int64  // of a move
	after time.Duration
	at    time.Duration
}

type told struct {
	open   bool // whether anything was done is not known
	yes    bool
	place  int64         // of a look
	cursor time.Duration // of a look or a refusal; < 0: the place was another
}

// step returns what the register may be after a call that was answered so; nothing if it can't have been answered so.
func step(r register, q asked, a told) []register {
	next, can := r.after(q)
	switch {
	case a.open && can:
		return []register{r, next}
	case a.open:
		return []register{r}
	case q.kind == "look" && (a.place != r.place || a.cursor != r.cursor):
		return nil
	case q.kind == "look":
		return []register{r}
	case a.yes && can:
		return []register{next}
	case a.yes, can, a.cursor < 0 && r.place == q.place, a.cursor >= 0 && (r.place != q.place || r.cursor != a.cursor):
		return nil
	}
	return []register{r}
}

// after returns the register after a call, and whether the call is granted.
func (r register) after(q asked) (register, bool) {
	if q.kind == "look" || r.place != q.place {
		return r, false
	}
	next := r
	switch h := (holding{q.place, q.kind == "pass"}); q.kind {
	case "move":
		next.place = q.to
		return next, true
	case "pass":
		next.cursor, next.holder = q.at, h
		return next, r == next || r.cursor == q.after
	default:
		next.cursor, next.holder = q.at, h
		return next, r == next || r.cursor < q.at
	}
}

// model is the register for porcupine, one for each job, each of which begins as it does.
func model(begin register) porcupine.Model {
	return (&porcupine.NondeterministicModel{
		Init: func() []any { return []any{begin} },
		Step: func(state, input, output any) (list []any) {
			for _, r := range step(state.(register), input.(asked), output.(told)) {
				list = append(list, r)
			}
			return list
		},
		Equal:             func(a, b any) bool { return a == b },
		DescribeOperation: func(q, a any) string { return fmt.Sprintf("%+v: %+v", q, a) },
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
	}).ToModel()
}

// forever is when a call returned of which nothing was heard.
const forever = math.MaxInt64

// closed gives a call of which it is not known whether anything was done an end: by when somebody has seen that nothing can be
// done by it any more, as the place or the cursor is beyond it. Neither goes back. It says nothing new of a history that is
// right, but without it a search would try all such calls everywhere.
func closed(list []porcupine.Operation) []porcupine.Operation {
	for i := range list {
		u, q := &list[i], list[i].Input.(asked)
		if !u.Output.(told).open {
			continue
		}
		for _, o := range list {
			if seen, a := o.Input.(asked), o.Output.(told); !a.open && beyond(q, seen, a) {
				u.Return = min(u.Return, max(o.Return, u.Call))
			}
		}
	}
	return list
}

// beyond says whether a call and its answer show that another can do nothing any more.
func beyond(q, seen asked, a told) bool {
	place, cursor := seen.place, a.cursor
	switch {
	case seen.kind == "look":
		place = a.place
	case seen.kind == "move" && a.yes:
		place = seen.to
	case a.yes:
		cursor = seen.at
	case a.cursor < 0: // refused: what it was asked by is over
		place++
	}
	return place > q.place || q.kind != "move" && cursor >= q.at
}

// TestRegister: the model refuses what must not be.
func TestRegister(t *testing.T) {
	const first, second = 1, 2
	claim := func(place int64, at time.Duration) asked { return asked{kind: "claim", place: place, at: at} }
	pass := func(place int64, after, at time.Duration) asked {
		return asked{kind: "pass", place: place, after: after, at: at}
	}
	move := asked{kind: "move", place: first, to: second}
	yes, moved, open := told{yes: true}, told{cursor: -1}, told{open: true}
	upTo := func(at time.Duration) told { return told{cursor: at} }
	at := func(place int64, cursor time.Duration) told { return told{place: place, cursor: cursor} }
	type step struct {
		q asked
		a told
	}
	look := asked{kind: "look"}
	for name, tt := range map[string]struct {
		steps []step
		want  bool
	}{
		"granted":                       {[]step{{claim(first, 5), yes}, {claim(first, 6), yes}}, true},
		"granted and asked again":       {[]step{{claim(first, 5), yes}, {claim(first, 5), yes}}, true},
		"granted and decided":           {[]step{{claim(first, 5), yes}, {claim(first, 6), yes}, {claim(first, 5), yes}}, false},
		"refused without a reason":      {[]step{{claim(first, 5), upTo(0)}}, false},
		"refused, decided":              {[]step{{claim(first, 5), yes}, {claim(first, 4), upTo(5)}}, true},
		"refused, decided less":         {[]step{{claim(first, 5), yes}, {claim(first, 4), upTo(4)}}, false},
		"granted to who had it":         {[]step{{move, yes}, {claim(first, 5), yes}}, false},
		"granted to both":               {[]step{{claim(first, 5), yes}, {move, yes}, {claim(second, 5), yes}}, false},
		"granted to the next":           {[]step{{claim(first, 5), yes}, {move, yes}, {claim(second, 6), yes}}, true},
		"refused to who has it":         {[]step{{claim(first, 5), moved}}, false},
		"refused to who had it":         {[]step{{move, yes}, {claim(first, 5), moved}}, true},
		"moved twice":                   {[]step{{move, yes}, {move, yes}}, false},
		"perhaps moved, then not":       {[]step{{move, open}, {claim(first, 5), yes}}, true},
		"perhaps moved, then moved":     {[]step{{move, open}, {claim(first, 5), moved}}, true},
		"perhaps moved, then both":      {[]step{{move, open}, {claim(first, 5), moved}, {claim(first, 6), yes}}, false},
		"perhaps claimed, then seen":    {[]step{{claim(first, 5), open}, {look, at(first, 5)}}, true},
		"perhaps claimed, then not":     {[]step{{claim(first, 5), open}, {look, at(first, 0)}, {claim(first, 3), yes}}, true},
		"seen and not there":            {[]step{{claim(first, 5), yes}, {look, at(first, 0)}}, false},
		"passed":                        {[]step{{pass(first, 0, 5), yes}, {pass(first, 0, 5), yes}, {look, at(first, 5)}}, true},
		"passed from where it is not":   {[]step{{claim(first, 2), yes}, {pass(first, 0, 5), yes}}, false},
		"passed, then claimed":          {[]step{{pass(first, 0, 5), yes}, {claim(first, 5), yes}}, false},
		"passed by who had it":          {[]step{{move, yes}, {pass(first, 0, 5), yes}}, false},
		"not passed from where it is":   {[]step{{pass(first, 0, 5), upTo(0)}}, false},
		"not passed, as it was decided": {[]step{{claim(first, 2), yes}, {pass(first, 0, 5), upTo(2)}}, true},
	} {
		var history []porcupine.Operation
		for i, s := range tt.steps {
			op := porcupine.Operation{Input: s.q, Output: s.a, Call: int64(2 * i), Return: int64(2*i + 1)}
			if s.a.open {
				op.Return = forever
			}
			history = append(history, op)
		}
		if got := porcupine.CheckOperations(model(register{place: first}), closed(history)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
