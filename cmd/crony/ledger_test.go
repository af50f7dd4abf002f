package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func TestJobLedger(t *testing.T) {
	due := noon.Add(-time.Hour)
	entries := []crony.LedgerEntry{
		{From: due, To: due, Count: 1, End: crony.EndRan, Run: id, State: crony.Succeeded, Agent: "A1"},
		{From: due.Add(time.Minute), To: due.Add(30 * time.Minute), Count: 30, End: crony.EndSkipped, Reason: "the job was paused"},
		{From: noon.Add(time.Minute), To: noon.Add(time.Minute), Count: 1, End: crony.EndOpen},
	}
	s := start(t, &fake{ledger: ledger{entries: map[string][]crony.LedgerEntry{"hello": entries, "idle": nil}}})
	want := `FROM                  TO                    COUNT  END      REASON              AGENT  RUN
2027-03-01T11:00:00Z  -                     1      ran      -                   A1     01KABCDEFGHJKMNPQRSTVWXYZ0
2027-03-01T11:01:00Z  2027-03-01T11:30:00Z  30     skipped  the job was paused  -      -
`
	if diff := cmp.Diff(want, s.want("job", "ledger", "hello")); diff != "" {
		t.Error(diff)
	}
	var got []crony.LedgerEntry
	answer := s.want("job", "ledger", "hello", "--from", "12:10", "--to", "13:01", "--tz", "Europe/Berlin", "-o", "json")
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]crony.LedgerEntry{entries[1], entries[2]}, got); diff != "" {
		t.Error(diff)
	}
	if got := s.want("job", "ledger", "idle", "-o", "yaml"); got != "[]\n" {
		t.Errorf("got %q", got)
	}
	if r := s.run("job", "ledger", "none"); r.code != 3 || r.stderr != "crony: there never was a job \"none\"\n" {
		t.Errorf("got %+v", r)
	}
}

// TestPagesOfAnySize: a server may give a few entries more than asked for, or none and go on.
func TestPagesOfAnySize(t *testing.T) {
	given := [][]int{{1, 2, 3}, {}, {4}, {5, 6, 7, 8}}
	for limit, want := range map[int]int{0: 8, 2: 2, 3: 3, 4: 4, 6: 6, 9: 8} {
		page, got := 0, 0
		for n, err := range pages(limit, func(string, int) ([]int, string, error) {
			page++
			if page == len(given) {
				return given[page-1], "", nil
			}
			return given[page-1], strconv.Itoa(page), nil
		}) {
			if got++; err != nil || n != got {
				t.Fatalf("limit %d: item %d is %d, %v", limit, got, n, err)
			}
		}
		if got != want {
			t.Errorf("limit %d: %d items, want %d", limit, got, want)
		}
	}
}

func TestJobLedgerLimits(t *testing.T) {
	entries := make([]crony.LedgerEntry, 2*pageSize+7)
	for i := range entries {
		at := noon.Add(time.Duration(i-len(entries)) * time.Second)
		entries[i] = crony.LedgerEntry{From: at, To: at, Count: 1, End: crony.EndRan, Run: crony.RunID(fmt.Sprintf("R%05d", i))}
	}
	f := &fake{ledger: ledger{entries: map[string][]crony.LedgerEntry{"hello": entries}}}
	s := start(t, f)
	for _, tt := range []struct {
		args        []string
		rows, pages int
		notice      bool
	}{
		{nil, tableLimit, 1, true},
		{[]string{"--limit", "3"}, 3, 1, false},
		{[]string{"--limit", "0"}, len(entries), 3, false},
	} {
		f.pages = 0
		r := s.run(append([]string{"job", "ledger", "hello"}, tt.args...)...)
		rows := strings.Count(r.stdout, "\n") - 1
		if rows != tt.rows || f.pages != tt.pages || strings.Contains(r.stderr, "--limit 0") != tt.notice {
			t.Errorf("%v: %d rows of %d pages, want %d of %d; stderr %q", tt.args, rows, f.pages, tt.rows, tt.pages, r.stderr)
		}
	}
}
