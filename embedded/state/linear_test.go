package state

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// desk is what those who ask for a job know of it.
type desk struct {
	job   string
	start time.Time // where the cursor was at first, from which the times of occurrences are counted
	began time.Time // the test, from which the times of calls are
	term  int64
	last  atomic.Int64 // number of a place

	mu      sync.Mutex
	places  []crony.Assignment
	cursor  time.Duration
	history []porcupine.Operation
}

// number is what tells an assignment from all others of the job.
func (d *desk) number(a *crony.Assignment) int64 { return a.Since.Sub(d.start).Nanoseconds() }

// call asks a peer, and notes what was asked when, and what was answered. A transaction of which nothing was heard may be made at
// any time, whatever is answered in the end: it is a call of its own then.
func (d *desk) call(p *peer, q asked, ask question, read func(*answer) told) (answer, error) {
	op := porcupine.Operation{Input: q, Output: told{open: true}, Call: time.Since(d.began).Nanoseconds(), Return: forever}
	a, err := p.ask(ask, time.Second)
	returned := time.Since(d.began).Nanoseconds()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || a.Unheard > 0 {
		d.history = append(d.history, op)
	}
	if err != nil {
		return a, err
	}
	heard := read(&a)
	op.Output, op.Return = heard, returned
	d.history = append(d.history, op)
	if d.cursor = max(d.cursor, heard.cursor); heard.yes && q.kind != "move" {
		d.cursor = max(d.cursor, q.at)
	}
	return a, nil
}

// claim asks for an occurrence near the cursor, or for a pass from it, mostly in the name of who has the job.
func (d *desk) claim(p *peer) {
	d.mu.Lock()
	cursor, by := d.cursor, d.places[len(d.places)-1]
	if rand.IntN(4) == 0 {
		by = d.places[max(0, len(d.places)-1-rand.IntN(3))]
	}
	d.mu.Unlock()
	const tick = time.Millisecond
	q := asked{kind: "claim", place: d.number(&by), at: max(tick, cursor+time.Duration(rand.IntN(5)-1)*tick)}
	if rand.IntN(4) == 0 {
		q.kind, q.after, q.at = "pass", cursor, cursor+time.Duration(1+rand.IntN(2))*tick
	}
	ask := Ask{Job: d.job, Agent: by.Agent, Epoch: by.Epoch, At: d.start.Add(q.at)}
	if q.kind == "pass" {
		ask.After, ask.Reason, ask.Skipped = d.start.Add(q.after), "test", true
	}
	d.call(p, q, question{Claim: &ask}, func(a *answer) told {
		switch {
		case a.Decision.Granted:
			return told{yes: true}
		case a.Decision.Reason == movedMeanwhile:
			return told{cursor: -1}
		}
		return told{open: a.Decision.Cursor.IsZero(), cursor: a.Decision.Cursor.Sub(d.start)}
	})
}

// look looks where the job is, tells those who claim, and returns it.
func (d *desk) look(p *peer) (crony.Assignment, error) {
	a, err := d.call(p, asked{kind: "look"}, question{Where: d.job}, func(a *answer) told {
		return told{place: d.number(&a.Assignment), cursor: a.Cursor.Sub(d.start)}
	})
	if err != nil {
		return a.Assignment, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.number(&a.Assignment) > d.number(&d.places[len(d.places)-1]) {
		d.places = append(d.places, a.Assignment)
	}
	return a.Assignment, nil
}

// move gives the job to another agent than has it.
func (d *desk) move(p *peer, from crony.Assignment) {
	q := asked{kind: "move", place: d.number(&from), to: d.last.Add(1)}
	to := from
	for to.Agent == from.Agent {
		to.Agent = fmt.Sprint("a", rand.IntN(3))
	}
	to.Since = d.start.Add(time.Duration(q.to))
	d.call(p, q, question{Term: d.term, Move: &Move{Job: d.job, Generation: from.Generation, Put: []crony.Assignment{to},
		Drop: []crony.Assignment{from}}}, func(a *answer) told { return told{yes: a.Made, open: !a.Made} })
}

// TestLinearizable has many claim and pass over occurrences of the same few jobs, in the name of who has them, who had them, and
// several at once, through three servers, while jobs move and servers are killed and frozen. What they were answered must be
// what one register for each job would have answered, in some order in which each call lies between its beginning and its end.
func TestLinearizable(t *testing.T) {
	if testing.Short() {
		t.Skip("takes twenty seconds")
	}
	t.Parallel()
	desks, began := make([]*desk, 4), time.Now()
	peers := three(t, func(s *Store) {
		rev, _, err := s.commitAt(t.Context(), nil, []clientv3.Op{clientv3.OpPut(leader, encode(leadership{Server: "test"}))})
		if err != nil {
			t.Fatal(err)
		}
		for i := range desks {
			desks[i] = &desk{job: fmt.Sprint("job-", i), began: began, term: rev}
			desks[i].open(t, s)
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	one := func() *peer { return peers[rand.IntN(len(peers))] }
	for _, d := range desks {
		for range 4 {
			all.Go(func() {
				for ; ctx.Err() == nil; time.Sleep(5 * time.Millisecond) { // so that the search has an end
					d.claim(one())
				}
			})
		}
		all.Go(func() {
			for ctx.Err() == nil {
				if at, err := d.look(one()); err == nil {
					time.Sleep(100 * time.Millisecond) // so that more is claimed than moved
					d.move(one(), at)
				}
			}
		})
	}
	strike(t, peers)
	for end := time.Now().Add(patience); slices.ContainsFunc(desks, (*desk).quiet) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond) // a busy machine takes longer
	}
	stop()
	all.Wait()
	for _, d := range desks {
		d.judge(t)
	}
}

// open defines the job and gives it to an agent.
func (d *desk) open(t *testing.T, s *Store) {
	if _, err := s.Define(t.Context(), crony.Manifest{Jobs: []crony.Job{job1(d.job, "")}}, crony.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	j := s.mirror.look(d.job)
	d.start = j.claim.At
	first := crony.Assignment{Job: d.job, Agent: "a0", Generation: j.generation(), Since: d.start, Reason: "test"}
	move := Move{Job: d.job, Generation: first.Generation, Put: []crony.Assignment{first}}
	if made, err := s.Place(t.Context(), Term{d.term}, []Move{move}); err != nil || len(made) == 0 {
		t.Fatal(made, err)
	}
	j = s.mirror.look(d.job)
	d.places = []crony.Assignment{*j.newest()}
}

// strike kills the leader and another, and freezes the leader and another, in any order.
func strike(t *testing.T, peers []*peer) {
	strokes := []struct {
		what   string
		leader bool
		do     func(p *peer)
		undo   func(p *peer)
	}{{"kill", true, (*peer).kill, (*peer).start}, {"kill", false, (*peer).kill, (*peer).start},
		{"freeze", true, (*peer).freeze, (*peer).thaw}, {"freeze", false, (*peer).freeze, (*peer).thaw}}
	for _, n := range rand.Perm(len(strokes)) {
		time.Sleep(time.Second)
		s, p := strokes[n], leading(peers)
		if !s.leader {
			p = but(peers, p)
		}
		t.Logf("%s %s, leader %v", s.what, p.place.ID, s.leader)
		s.do(p)
		time.Sleep(1500 * time.Millisecond) // until the others have a leader, and some of what it was asked is given up
		s.undo(p)
	}
	time.Sleep(time.Second)
}

// counts returns how many calls were granted, by their kinds, and how many were refused or not heard of.
func (d *desk) counts() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := map[string]int{}
	for _, o := range d.history {
		switch a := o.Output.(told); {
		case o.Return == forever:
			n["unheard"]++
		case a.yes:
			n[o.Input.(asked).kind]++
		case !a.open:
			n["refused"]++
		}
	}
	return n
}

// quiet says that too little has happened for the calls to say much.
func (d *desk) quiet() bool {
	n := d.counts()
	return n["claim"] < 50 || n["pass"] < 10 || n["move"] < 10 || n["refused"] < 10 || n["unheard"] == 0
}

// judge looks for an order of the job's calls in which they would have been answered so.
func (d *desk) judge(t *testing.T) {
	t.Helper()
	t.Logf("%s: %d calls: %v", d.job, len(d.history), d.counts())
	if d.quiet() {
		t.Errorf("%s: too little happened", d.job)
	}
	m := model(register{})
	result, info := porcupine.CheckOperationsVerbose(m, closed(d.history), time.Minute)
	if result == porcupine.Ok {
		return
	}
	file := filepath.Join(os.TempDir(), "crony-"+d.job+".html")
	t.Errorf("%s: no order is found in which its calls would have been answered so: %s; it is drawn in %s: %v", d.job, result, file,
		porcupine.VisualizePath(m, info, file))
}
