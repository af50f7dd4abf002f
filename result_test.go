package crony

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestCheckResult(t *testing.T) {
	for given, want := range map[string]string{
		`{"rows": 3,  "ok": [true, null]}` + "\n": `{"rows":3,"ok":[true,null]}`,
		` null `:           `null`,
		`"<a> & \u2028 ü"`: `"<a> & \u2028 ü"`,
		strings.Repeat("[", MaxResultDepth) + strings.Repeat("]", MaxResultDepth): strings.Repeat("[", MaxResultDepth) +
			strings.Repeat("]", MaxResultDepth),
		`"[[[ \"{ \\"`: `"[[[ \"{ \\"`,
	} {
		if got, err := CheckResult([]byte(given)); err != nil || string(got) != want {
			t.Errorf("%.60s: %s, %v", given, got, err)
		}
	}
	for given, want := range map[string]string{
		"":         "not one JSON value",
		" \n":      "not one JSON value",
		"{} {}":    "at byte 4,",
		"{'a': 1}": "not one JSON value",
		"NaN":      "not one JSON value",
		"\"\xff\"": "UTF-8",
		"\x00\x01": "not one JSON value",
		"\ufeff{}": "not one JSON value",
		strings.Repeat("[", MaxResultDepth+1) + strings.Repeat("]", MaxResultDepth+1): "deep",
		`"` + strings.Repeat("x", MaxResult-1) + `"`:                                  "more than 49152 bytes",
	} {
		if got, err := CheckResult([]byte(given)); CodeOf(err) != Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %.60s, %v", given, got, err)
		}
	}
}

// FuzzCheckResult holds what is accepted against a decoder's tokens.
func FuzzCheckResult(f *testing.F) {
	for _, seed := range []string{`{"a":[1,{"b":"]\\\""}]}`, "[[]", "1 2", `"\u00e9"`, "\xff", " ", `{"a" : [ ] }`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		kept, err := CheckResult(data)
		if err != nil {
			if CodeOf(err) != Invalid {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		if !json.Valid(kept) || len(kept) > MaxResult {
			t.Fatalf("%q is kept as %q", data, kept)
		}
		if again, err := CheckResult(kept); err != nil || !bytes.Equal(again, kept) {
			t.Fatalf("%q is kept as %q, and that as %q, %v", data, kept, again, err)
		}
		tokens, now, most := json.NewDecoder(bytes.NewReader(kept)), 0, 0
		for {
			token, err := tokens.Token()
			if err != nil {
				break
			}
			switch token {
			case json.Delim('['), json.Delim('{'):
				now++
				most = max(most, now)
			case json.Delim(']'), json.Delim('}'):
				now--
			}
		}
		if most != depth(kept) || most > MaxResultDepth {
			t.Fatalf("%q is %d deep, and is taken for %d", kept, most, depth(kept))
		}
	})
}

// TestFoldResult has the last attempt's result count, and the first of that attempt.
func TestFoldResult(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	claimed := Fact{Seq: 1, Claimed: &ClaimedFact{Job: "j", Handle: true}}
	started := func(seq, n int) Fact { return Fact{Seq: seq, Started: &StartedFact{Attempt: n}} }
	result := func(seq, n int, data string) Fact {
		return Fact{Seq: seq, Result: &ResultFact{Attempt: n, Data: json.RawMessage(data)}}
	}
	ended := Fact{Seq: 8, Ended: &EndedFact{State: Failed}}
	handled := (&Handled{By: "alice", At: at, Note: "booked", Request: "r1"}).Fact("")
	for name, c := range map[string]struct {
		facts    []Fact
		want     string
		toHandle bool
	}{
		"while it goes on":            {[]Fact{claimed, started(2, 1), result(3, 1, `1`)}, `1`, false},
		"ended":                       {[]Fact{claimed, started(2, 1), result(3, 1, `1`), ended}, `1`, true},
		"nothing asked":               {[]Fact{{Seq: 1, Claimed: &ClaimedFact{Job: "j"}}, started(2, 1), result(3, 1, `1`), ended}, `1`, false},
		"no result":                   {[]Fact{claimed, started(2, 1), ended}, ``, false},
		"the next attempt gives none": {[]Fact{claimed, started(2, 1), result(3, 1, `1`), started(4, 2), ended}, ``, false},
		"the next attempt's":          {[]Fact{claimed, started(2, 1), result(3, 1, `1`), started(4, 2), result(5, 2, `2`), ended}, `2`, true},
		"the first of two":            {[]Fact{claimed, started(2, 1), result(3, 1, `1`), result(4, 1, `2`), ended}, `1`, true},
		"a callee's":                  {[]Fact{claimed, started(2, 1), ended, result(CalleeSeq, 1, `1`), result(CalleeSeq+1, 1, `2`)}, `1`, true},
		"a callee's of before":        {[]Fact{claimed, started(2, 1), started(4, 2), ended, result(CalleeSeq, 1, `1`), result(CalleeSeq+1, 2, `2`)}, `2`, true},
		"a callee's of none":          {[]Fact{claimed, started(2, 1), started(4, 2), ended, result(CalleeSeq, 0, `1`)}, `1`, true},
		"handled":                     {[]Fact{claimed, started(2, 1), result(3, 1, `1`), ended, handled}, `1`, false},
	} {
		run, ok := Fold(c.facts)
		if !ok || string(run.Result) != c.want || run.ToHandle != c.toHandle {
			t.Errorf("%s: %s, to handle: %v, %v", name, run.Result, run.ToHandle, ok)
		}
	}
	run, _ := Fold([]Fact{claimed, started(2, 1), result(3, 1, `1`), ended, handled})
	if run.Handled == nil || run.Handled.Words() != "handled by alice at 2026-03-01T12:00:00Z: booked" || run.Handled.Request != "r1" {
		t.Errorf("%+v", run.Handled)
	}
}
