package testhosts_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crony"
)

// TestCutOff cuts an agent off from all servers for longer than its lease. What is to run all the same does, each second once, and the
// ledger shows it; also what was changed meanwhile, and nothing of it is a double. What holds starts nothing, and is missed with the reason.
// What stops is killed.
func TestCutOff(t *testing.T) {
	long(t)
	f := newFleet(t, 3, 1)
	a := f.agents[0]
	sleeps := fmt.Sprint(1_000_000 + os.Getpid()) // seconds: no other process of the machine does
	job := func(name, schedule, more, command string) string {
		return fmt.Sprintf("  - {name: %s, schedule: '%s', %s shell: {command: 'echo $CRONY_SCHEDULED_AT >>%s%s'}}\n", name, schedule, more,
			filepath.Join(f.out, name), command)
	}
	f.must(f.first(), "job", "apply", "-f", f.file("jobs.yaml", "jobs:\n"+job("runs", "* * * * * *", "", "")+job("changed", "* * * * * *", "", "")+
		job("holds", "* * * * * *", "on_disconnect: hold, misfire: {policy: skip},", "")+
		job("stops", "* * * * * *", "on_disconnect: stop, overlap: forbid,", "; exec sleep "+sleeps)))
	for _, name := range []string{"runs", "changed", "holds"} {
		f.Wait(30*time.Second, name+" to run", func() bool { return len(f.ticks(name)) > 2 })
	}
	asleep := func() bool {
		_, _, err := a.Run(nil, "pgrep", "-f", "^sleep "+sleeps+"$")
		return err == nil
	}
	f.Wait(30*time.Second, "the one that stops to run", asleep)

	a.CutOff()
	cut := time.Now()
	f.must(f.first(), "job", "apply", "-f", f.file("changed.yaml", "jobs:\n"+job("changed", "*/2 * * * * *", "", "")))
	f.Wait(20*time.Second, "the one that stops to be killed", func() bool { return !asleep() })
	if d := time.Since(cut); d < 5*time.Second {
		t.Errorf("it was killed after %s, with a lease of ten seconds", d)
	}
	held := len(f.ticks("holds"))
	f.Wait(40*time.Second, "others to run on", func() bool {
		list := f.ticks("runs")
		return list[len(list)-1].After(cut.Add(24 * time.Second))
	})
	if n := len(f.ticks("holds")); n != held || asleep() {
		t.Errorf("cut off, it started %d of the one that holds; the one that stops runs: %t", n-held, asleep())
	}
	a.Heal()
	healed := time.Now()
	f.Wait(time.Minute, "the agent to be back", func() bool { return f.connected() == 1 })
	f.unbroken([]string{"runs"})
	f.Wait(30*time.Second, "the others to run again", func() bool {
		list := f.ticks("holds")
		return list[len(list)-1].After(healed) && asleep()
	})

	from, to := cut.Add(4*time.Second).Truncate(time.Second), healed.Add(-12*time.Second).Truncate(time.Second) // what is sooner was claimed before; what is later may run late
	for _, name := range []string{"runs", "changed"} {
		ran := map[time.Time]bool{}
		for _, at := range f.ticks(name) {
			ran[at.UTC()] = true
		}
		f.Wait(30*time.Second, "the ledger to show what ran of "+name, func() bool { return len(f.inLedger(name, from, to)) == 1+int(to.Sub(from).Seconds()) })
		for at, e := range f.inLedger(name, from, to) {
			if e.End != crony.EndRan || e.State != crony.Succeeded || e.Count != 1 || strings.Contains(e.Reason, "doubles") || !ran[at] {
				t.Errorf("%s at %s: %+v", name, at, e)
			}
		}
		if words := f.must(f.first(), "explain", name, "--at", to.Format(time.RFC3339)); !strings.Contains(words, "without a claim") ||
			strings.Contains(words, "twice") {
			t.Errorf("%s is explained by %q", name, words)
		}
	}
	for at, e := range f.inLedger("holds", from, to) {
		if e.End != crony.EndMissed || e.Reason == "" {
			t.Errorf("holds at %s: %+v", at, e)
		}
	}
	if words := f.must(f.first(), "explain", "holds", "--at", to.Format(time.RFC3339)); !strings.Contains(words, "its agent reached no server") {
		t.Errorf("what was held is explained by %q", words)
	}
	killed := 0
	for _, e := range f.inLedger("stops", cut.Add(-time.Minute), to) {
		if e.State == crony.Killed && strings.Contains(e.Reason, "cut off") {
			killed++
		}
	}
	if killed != 1 {
		t.Errorf("%d runs of the one that stops were killed: %+v", killed, f.inLedger("stops", cut.Add(-time.Minute), to))
	}
	f.must(f.first(), "verify") // fails if anything is at fault
}

// inLedger returns what the ledger shows of a time, by the first occurrence of each entry.
func (f *fleet) inLedger(name string, from, to time.Time) map[time.Time]crony.LedgerEntry {
	f.t.Helper()
	var list []crony.LedgerEntry
	f.decode(f.must(f.first(), "job", "ledger", name, "--from", from.Format(time.RFC3339), "--to", to.Format(time.RFC3339), "-o", "json"), &list)
	entries := map[time.Time]crony.LedgerEntry{}
	for _, e := range list {
		if at := e.From.UTC(); !at.Before(from) && !at.After(to) {
			entries[at] = e
		}
	}
	return entries
}
