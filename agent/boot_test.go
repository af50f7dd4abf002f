//go:build linux

package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"crony"
)

func TestBoots(t *testing.T) {
	dir := t.TempDir()
	open := func(want bool) boots {
		t.Helper()
		b, err := openBoots(dir)
		if err != nil || b.news != want {
			t.Fatalf("%+v, %v; want news %v", b, err, want)
		}
		return b
	}
	open(false) // a new directory
	open(false) // the agent was restarted
	if err := os.WriteFile(filepath.Join(dir, "boot"), []byte("another boot 17\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(true)
	b := open(true) // the agent died before it had started anything
	if err := b.seen(); err != nil {
		t.Fatal(err)
	}
	open(false)
}

func newBoot(t *testing.T) boots {
	return boots{path: filepath.Join(t.TempDir(), "boot"), now: "this boot", news: true}
}

// TestReboot starts what is due when the host has booted: once, what the agent has then, and nothing that comes later.
func TestReboot(t *testing.T) {
	bootedLoop(t, newBoot(t), nil, func(t *testing.T, l *loopRig) {
		paused := definition("paused", "@reboot", func(j *crony.Job) { j.Paused = true })
		both := definition("both", "@reboot", func(j *crony.Job) { j.Schedules = []crony.ScheduleEntry{{Cron: "* * * * *"}} })
		l.say(newStream(), assigned(definition("a", "@reboot"), 1, midnight, ""), assigned(definition("m", "* * * * *"), 2, midnight, ""),
			assigned(paused, 3, midnight, ""), assigned(both, 4, midnight, ""))
		l.sleep(time.Second)
		l.expectStarts() // the list is not complete
		l.say(synced())
		l.expectStarts("a@00:00:01", "both@00:00:01")
		if c := l.journal.records()[0].facts[0].Claimed; c.Trigger != crony.ByReboot {
			t.Errorf("%+v", c)
		}
		l.say(assigned(definition("later", "@reboot"), 5, midnight, ""), newStream(), assigned(definition("a", "@reboot"), 1, midnight, ""), synced())
		l.sleep(time.Second)
		l.expectStarts("a@00:00:01", "both@00:00:01")
		if data, err := os.ReadFile(l.loop.boots.path); err != nil || string(data) != "this boot" {
			t.Errorf("%q, %v", data, err)
		}
	})
}

// TestRebootTwice has an agent die after it wrote down the runs of a boot, and before it wrote down the boot.
func TestRebootTwice(t *testing.T) {
	recovered := []crony.Fact{{Run: runAt(1), Seq: 1, Claimed: &crony.ClaimedFact{Job: "a", JobUID: "uid-a", Generation: 1, Agent: "a1",
		Trigger: crony.ByReboot, ScheduledAt: midnight}}}
	bootedLoop(t, newBoot(t), recovered, func(t *testing.T, l *loopRig) {
		mustAdd(t, l.journal, entry{Fact: &recovered[0]})
		l.say(assigned(definition("a", "@reboot"), 1, midnight, ""), assigned(definition("b", "@reboot"), 2, midnight, ""), synced())
		l.expectStarts("a@00:00:00", "b@00:00:00")
	})
}

// TestRebootFullDisk has a disk that takes the runs and not the boot: they wait, and nothing else does.
func TestRebootFullDisk(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	full := boots{path: filepath.Join(disk, "boot"), now: "this boot", news: true}
	bootedLoop(t, full, nil, func(t *testing.T, l *loopRig) {
		l.say(assigned(definition("a", "@reboot"), 1, midnight, ""), assigned(definition("m", "* * * * *"), 2, midnight, ""), synced())
		l.sleep(59 * time.Second)
		l.say(grantAll(l.ask("m", at("00:01:00"))))
		l.sleep(time.Second)
		l.expectStarts("m@00:01:00")
		if err := os.Mkdir(disk, 0o700); err != nil {
			t.Fatal(err)
		}
		l.sleep(tick)
		l.expectStarts("m@00:01:00", "a@00:00:00")
	})
}
