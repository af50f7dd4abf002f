package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

type ends = map[crony.End]int64

// shown is a verification of the day before noon that found these faults.
func shown(expected int64, ended ends, faults ...crony.LedgerFault) crony.Verification {
	return crony.Verification{From: noon.Add(-24 * time.Hour), To: noon, Expected: expected, Ends: ended,
		Faults: faults, Faulty: int64(len(faults)), Complete: true}
}

func fault(kind crony.FaultKind, text string) crony.LedgerFault {
	return crony.LedgerFault{At: noon.Add(-time.Hour), Kind: kind, Text: text}
}

func TestVerifyFindsNothing(t *testing.T) {
	f := &fake{jobs: jobs(job("a"), job("b"), job("idle")), ledger: ledger{parts: map[string][]crony.Verification{
		"a":    {shown(24, ends{crony.EndRan: 20, crony.EndSkipped: 1, crony.EndMissed: 2, crony.EndOpen: 1})},
		"b":    {shown(1440, ends{crony.EndRan: 1439, crony.EndLost: 1})},
		"idle": {shown(0, ends{})},
		"gone": {shown(3, ends{crony.EndRan: 3})},
	}}}
	s := start(t, f)
	want := `JOB   EXPECTED  RAN   SKIPPED  MISSED  LOST  OPEN  GAPS  DOUBLES  STRAYS
a     24        20    1        2       0     1     0     0        0
b     1440      1439  0        0       1     0     0     0        0
idle  0         0     0        0       0     0     0     0        0
`
	if diff := cmp.Diff(result{0, want, ""}, s.run("verify"), cmp.AllowUnexported(result{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a?", "b?", "idle?"}, f.ledger.verified); diff != "" {
		t.Error(diff)
	}

	// One job, which need not be defined any more.
	f.ledger.verified = nil
	if got := s.want("verify", "gone", "--from", "-24h", "--to", "12:00"); !strings.Contains(got, "\ngone  3 ") {
		t.Errorf("got\n%s", got)
	}
	if diff := cmp.Diff([]string{"gone?from=2027-02-28T12%3A00%3A00Z&to=2027-03-01T12%3A00%3A00Z"}, f.ledger.verified); diff != "" {
		t.Error(diff)
	}
	if r := s.run("verify", "none"); r.code != 3 || r.stderr != "crony: there never was a job \"none\"\n" {
		t.Errorf("got %+v", r)
	}
}

func TestVerifyListsTheFaults(t *testing.T) {
	parts := func() map[string][]crony.Verification {
		many := shown(500, ends{crony.EndRan: 380, crony.EndUnrecorded: 120}, fault(crony.FaultGap, "nothing is recorded"))
		many.Faulty = 121
		return map[string][]crony.Verification{
			"a": {shown(24, ends{crony.EndRan: 24}, fault(crony.FaultDouble, "runs R1 and R2"), fault(crony.FaultStray, "run R3"))},
			"b": {shown(1, ends{crony.EndRan: 1})},
			"c": {many},
		}
	}
	f := &fake{jobs: jobs(job("a"), job("b"), job("c")), ledger: ledger{parts: parts()}}
	s := start(t, f)
	want := result{1, `JOB  EXPECTED  RAN  SKIPPED  MISSED  LOST  OPEN  GAPS  DOUBLES  STRAYS
a    24        24   0        0       0     0     0     1        1
b    1         1    0        0       0     0     0     0        0
c    500       380  0        0       0     0     120   0+       0+

JOB  AT                    FAULT   WHAT
a    2027-03-01T11:00:00Z  double  runs R1 and R2
a    2027-03-01T11:00:00Z  stray   run R3
c    2027-03-01T11:00:00Z  gap     nothing is recorded
`, "crony: c has 121 faults; the first 1 are listed\ncrony: faults in the ledger: 123, in 2 of 3 jobs\n"}
	if diff := cmp.Diff(want, s.run("verify"), cmp.AllowUnexported(result{})); diff != "" {
		t.Error(diff)
	}

	f.ledger.parts = parts()
	r := s.run("verify", "-o", "json")
	var got []crony.Verification
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || r.code != 1 || len(got) != 3 || got[2].Faulty != 121 {
		t.Errorf("exit code %d, %v:\n%s", r.code, err, r.stdout)
	}
}

// TestVerifyGoesOn: what is too much for one answer is asked for until there is nothing left, and counted together.
func TestVerifyGoesOn(t *testing.T) {
	at := func(hour int) time.Time { return noon.Add(time.Duration(hour-24) * time.Hour) }
	part := func(from, to, faults int) crony.Verification {
		v := crony.Verification{From: at(from), To: at(to), Expected: 100, Faulty: int64(faults), Complete: to == 24,
			Ends: ends{crony.EndRan: 90, crony.EndUnrecorded: int64(faults)}}
		for i := range min(faults, crony.MaxFaults) {
			v.Faults = append(v.Faults, fault(crony.FaultGap, fmt.Sprintf("gap %d from %d", i, from)))
		}
		return v
	}
	f := &fake{ledger: ledger{parts: map[string][]crony.Verification{"big": {part(2, 8, 0), part(8, 16, 60), part(16, 24, 60)}}}}
	s := start(t, f)
	s.watched = true
	r := s.run("verify", "big", "--from", "2027-02-28 12:00", "--to", "12:00", "-o", "json")
	var got []crony.Verification
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || len(got) != 1 || r.code != 1 {
		t.Fatalf("%v: %+v", err, r)
	}
	if len(got[0].Faults) != crony.MaxFaults || got[0].Faults[99].Text != "gap 39 from 16" {
		t.Errorf("%d faults, the last %+v", len(got[0].Faults), got[0].Faults[len(got[0].Faults)-1])
	}
	got[0].Faults = nil
	want := crony.Verification{Job: "big", From: at(2), To: at(24), Expected: 300, Faulty: 120, Complete: true,
		Ends: ends{crony.EndRan: 270, crony.EndUnrecorded: 120}}
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Error(diff)
	}
	const to = "&to=2027-03-01T12%3A00%3A00Z"
	if diff := cmp.Diff([]string{"big?from=2027-02-28T12%3A00%3A00Z" + to, "big?from=2027-02-28T20%3A00%3A00.000000001Z" + to,
		"big?from=2027-03-01T04%3A00%3A00.000000001Z" + to}, f.ledger.verified); diff != "" {
		t.Error(diff)
	}
	const take = "\r\x1b[K" // the progress, in a line that is taken away again
	if diff := cmp.Diff(take+"verifying big"+take+"verifying big: 2027-02-28 20:00:00 UTC (16h ago)"+
		take+"verifying big: 2027-03-01 04:00:00 UTC (8h ago)"+take+
		"crony: big is verified from 2027-02-28T14:00:00Z on: no definition of before is kept\n"+
		"crony: faults in the ledger: 120, in 1 of 1 jobs\n", strings.Replace(r.stderr, take+"crony: faults", "crony: faults", 1)); diff != "" {
		t.Error(diff)
	}
}

// TestVerifyDoesNotTurnInCircles: a server that does not get on is not asked for ever.
func TestVerifyDoesNotTurnInCircles(t *testing.T) {
	stuck := shown(1, ends{})
	stuck.Complete = false
	s := start(t, &fake{ledger: ledger{parts: map[string][]crony.Verification{"a": {stuck, stuck, stuck, stuck}}}})
	if r := s.run("verify", "a"); r.code != 1 || !strings.Contains(r.stderr, "does not get beyond 2027-03-01T12:00:00Z") {
		t.Errorf("got %+v", r)
	}
}

// TestVerifyStopsAtAnError: what was found before it is told, and the exit code is the error's.
func TestVerifyStopsAtAnError(t *testing.T) {
	f := &fake{jobs: jobs(job("a"), job("b"), job("c")), ledger: ledger{parts: map[string][]crony.Verification{
		"a": {shown(24, ends{crony.EndRan: 24}, fault(crony.FaultDouble, "runs R1 and R2"))}}}}
	s := start(t, f)
	r := s.run("verify")
	if r.code != 3 || !strings.Contains(r.stdout, "double  runs R1 and R2") || r.stderr != "crony: there never was a job \"b\"\n" {
		t.Errorf("got %+v", r)
	}
	s = serveHandler(t, func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, crony.Errorf(crony.Unavailable, "the run log is not read yet"))
	})
	if r := s.run("verify", "a"); r.code != 1 || r.stderr != "crony: the run log is not read yet\n" {
		t.Errorf("got %+v", r)
	}
}
