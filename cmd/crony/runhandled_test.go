package main

import (
	"encoding/json"
	"strings"
	"testing"

	"crony"
)

func TestRunHandled(t *testing.T) {
	f := &fake{runs: []crony.Run{{ID: id, State: crony.Succeeded, HandleResult: true, ToHandle: true, Job: "books",
		Result: json.RawMessage(`{"rows":3,"text":"a"}`)}}}
	s := start(t, f)
	want := "Result:   {\n            \"rows\": 3,\n            \"text\": \"a\"\n          }\nHandled:  not yet\n"
	if got := s.want("run", "show", string(id)); !strings.Contains(got, want) {
		t.Errorf("shown is\n%s", got)
	}
	if got := s.want("run", "list", "--to-handle"); !strings.Contains(got, "succeeded, to handle") || f.query.Get("to_handle") != "true" {
		t.Errorf("asked for %v, got\n%s", f.query, got)
	}
	got := s.want("run", "handled", string(id), "--note", "booked\x1b[2J")
	if got != string(id)+" is handled by me at 2027-03-01T12:00:00Z: booked\ufffd[2J\n" {
		t.Errorf("got %q", got)
	}
	if f.handled.Note != "booked\x1b[2J" || f.handled.Request == "" {
		t.Errorf("asked for %+v", f.handled)
	}
	if got := s.want("run", "show", string(id)); !strings.Contains(got, "Handled:  by me, 2027-03-01 12:00:00") || !strings.Contains(got, "Note:     booked") {
		t.Errorf("shown is\n%s", got)
	}
	if r := s.run("run", "handled", string(id)); r.code == 0 || !strings.Contains(r.stderr, "handled by me at 2027-03-01T12:00:00Z") {
		t.Errorf("once more: %+v", r)
	}
	if r := s.run("run", "handled", "01KABCDEFGHJKMNPQRSTVWXYZ9"); r.code != 3 {
		t.Errorf("an unknown run: %+v", r)
	}
	if r := s.run("run", "handled", "what"); r.code == 0 || !strings.Contains(r.stderr, "not a run's id") {
		t.Errorf("no id: %+v", r)
	}
}

func TestRunHandledAsJSON(t *testing.T) {
	f := &fake{runs: []crony.Run{{ID: id, State: crony.Succeeded, ToHandle: true}}}
	var h crony.Handled
	if err := json.Unmarshal([]byte(start(t, f).want("run", "handled", string(id), "-o", "json")), &h); err != nil || h.By != "me" {
		t.Errorf("%+v, %v", h, err)
	}
}
