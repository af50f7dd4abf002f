//go:build linux

package agent

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"crony"
	"crony/internal/wire"
)

// zoneOf returns the rules of a place.
func zoneOf(t *testing.T, place string) string {
	t.Helper()
	for _, dir := range zoneDirs()[1:] {
		if data, err := os.ReadFile(filepath.Join(dir, place)); err == nil {
			return string(data)
		}
	}
	t.Skip("this host has no time zones to make others of")
	return ""
}

// TestZonesChange has the rules of a zone change while a job waits by them: within a second it waits by the new ones. It runs
// in a process of its own, since a process reads once where its rules are.
func TestZonesChange(t *testing.T) {
	const child = "CRONY_TEST_ZONES"
	dir := os.Getenv(child)
	if dir == "" {
		dir = t.TempDir()
		cmd := exec.Command(os.Args[0], "-test.run=^TestZonesChange$")
		cmd.Env = append(os.Environ(), "ZONEINFO="+dir, child+"="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	write := func(data string) {
		t.Helper()
		path := filepath.Join(dir, "Europe", "Berlin")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".new", []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	berlin, utc := zoneOf(t, "Europe/Berlin"), zoneOf(t, "Etc/GMT-2") // two hours ahead of UTC all the year
	write(berlin)
	inBubble(t, nil, func(t *testing.T, l *loopRig) {
		def := definition("m", "")
		def.Job.Schedules = []crony.ScheduleEntry{{Cron: "0 3 * * *", Timezone: "Europe/Berlin"}}
		l.say(assigned(def, 1, midnight, ""), synced())
		l.sleep(30 * time.Minute)
		if got := l.asks(); len(got) > 0 {
			t.Fatalf("asked %v", got)
		}
		write(utc)
		l.sleep(30 * time.Minute)
		l.say(grantAll(l.ask("m", at("01:00:00")))) // 03:00 two hours ahead; by the old rules it would be 02:00 UTC
		l.expectStarts("m@01:00:00")
		l.sleep(2 * time.Hour)
		if got := l.asks(); len(got) > 0 {
			t.Errorf("asked %v", got)
		}
	})
}

func TestZones(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("ZONEINFO", dir)
	var z zones
	def := crony.Definition{Job: crony.Job{Schedule: "CRON_TZ=Test/Here 0 3 * * *", Schedules: []crony.ScheduleEntry{{Timezone: "UTC"}}},
		Calendars: []crony.Calendar{{Timezone: "Test/There"}}}
	if def.PlanIn(z.load) != nil || len(z.known) != 2 {
		t.Errorf("watches %v", z.known)
	}
	now := wire.Time(0)
	look := func(want bool) {
		t.Helper()
		now = now.Add(tick)
		if got := z.changed(now); got != want {
			t.Errorf("changed: %v", got)
		}
		if z.changed(now.Add(tick - 1)) {
			t.Error("looked before its time")
		}
	}
	look(false)
	if err := os.Mkdir(filepath.Join(dir, "Test"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Here", "There"} {
		if err := os.WriteFile(filepath.Join(dir, "Test", name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		look(true)
		look(false)
	}
	now = now.Add(-time.Hour) // the clock goes back
	if err := os.Remove(filepath.Join(dir, "Test", "Here")); err != nil {
		t.Fatal(err)
	}
	look(true)
}
