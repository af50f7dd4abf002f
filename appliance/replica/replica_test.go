package replica

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"crony"
	"crony/embedded/runlog"
)

var all = []string{"s1", "s2", "s3"}

// TestMajority appends on each server: what is acknowledged is on most disks, and at once on all.
func TestMajority(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, all...)
		for i := range 30 {
			id := c.mustAppend(all[i%3])
			if on := c.holders(id); len(on) < 2 || !slices.Contains(on, all[i%3]) {
				t.Fatalf("run %s was acknowledged by %s, and is on %v", id, all[i%3], on)
			}
		}
		c.within(time.Second, "the logs to be the same", c.same)
	})
}

// TestAlone appends where there is one server.
func TestAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, "s1")
		id := c.mustAppend("s1")
		if on := c.holders(id); len(on) != 1 {
			t.Errorf("on %v", on)
		}
		broken := errors.New("no space left")
		c.node("s1").own.fail(broken)
		if _, err := c.append("s1"); !errors.Is(err, broken) {
			t.Errorf("on a full disk: %v", err)
		}
		if s := c.node("s1").Status(); !s.Whole {
			t.Errorf("the only log there is: %+v", s)
		}
	})
}

// TestOneCutOff goes on with two of three servers, without delay, and heals the third by hints when it is back.
func TestOneCutOff(t *testing.T) {
	for name, lose := range map[string]func(c *cluster, away bool){
		"cut off": func(c *cluster, away bool) { c.isolate("s3", away) },
		"frozen":  func(c *cluster, away bool) { c.freeze("s3", away) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, all...)
				c.mustAppend("s1")
				lose(c, true)
				for i := range 40 {
					start := time.Now()
					c.mustAppend(all[i%2])
					if took := time.Since(start); took > 100*time.Millisecond {
						t.Fatalf("an append took %s while a server is away", took)
					}
					time.Sleep(300 * time.Millisecond)
				}
				if s := c.node("s1").Status(); s.Others[1].Behind == 0 || time.Since(s.Others[1].BehindSince) < 10*time.Second {
					t.Errorf("the server that is away: %+v", s.Others[1])
				}
				lose(c, false)
				c.within(20*time.Second, "the logs to be the same", c.same)
				c.within(20*time.Second, "nothing to be behind", func() bool {
					s := c.node("s1").Status()
					return s.Others[1].Behind == 0 && s.Others[1].BehindSince.IsZero()
				})
			})
		})
	}
}

// TestHealsAlone has a server that was down while the others forgot their hints find what it lacks by comparing.
func TestHealsAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, all...)
		old := c.mustAppend("s1")
		c.stop("s3")
		lacked := []crony.RunID{c.mustAppend("s1"), c.mustAppend("s2")}
		for _, id := range []string{"s1", "s2"} {
			c.stop(id)
			c.start(id)
		}
		c.start("s3")
		if c.node("s3").Status().Whole {
			t.Error("a log that was compared with none is said to be whole")
		}
		c.within(10*time.Second, "the logs to be the same", c.same)
		for _, id := range append(lacked, old) {
			if on := c.holders(id); len(on) != 3 {
				t.Errorf("run %s is on %v", id, on)
			}
		}
		c.within(2*time.Minute, "the log to be whole", func() bool { return c.node("s3").Status().Whole })
	})
}

// TestNoMajority acknowledges nothing that is on too few disks, within a bounded time, and everything as soon as it can.
func TestNoMajority(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, all...)
		c.wire("s1", "s2", true)
		c.wire("s1", "s3", true)
		start := time.Now()
		id, err := c.append("s1")
		if crony.CodeOf(err) != crony.Unavailable || time.Since(start) > 2*quorumWait {
			t.Fatalf("after %s: %v", time.Since(start), err)
		}
		if on := c.holders(id); len(on) > 1 {
			t.Errorf("it is on %v", on)
		}
		go func() {
			time.Sleep(2 * time.Second)
			c.wire("s1", "s2", false)
		}()
		if _, err := c.append("s1"); err != nil {
			t.Errorf("with a majority that comes back in time: %v", err)
		}
		c.wire("s1", "s3", false)
		c.within(3*time.Minute, "the logs to be the same", c.same)
	})
}

// TestLostReplies has batches stored of which the sender is not told: it says so, and nothing is there twice.
func TestLostReplies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, all...)
		c.change(func() { c.deaf["s1"] = true })
		facts, chunks := life(time.Now())
		if err := c.node("s1").Append(t.Context(), facts, chunks); crony.CodeOf(err) != crony.Unavailable {
			t.Fatalf("without a reply: %v", err)
		}
		c.change(func() { c.deaf["s1"] = false })
		if err := c.node("s1").Append(t.Context(), facts, chunks); err != nil {
			t.Fatal(err)
		}
		c.within(time.Minute, "the logs to be the same", c.same)
		days, err := c.node("s1").Days(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, sum := range days {
			if sum.Records != 5 {
				t.Errorf("%d records of four facts and a chunk", sum.Records)
			}
		}
	})
}

// TestOwnDisk acknowledges what most servers have though the own disk refuses or hangs, and heals it.
func TestOwnDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, all...)
		own := c.node("s1").own
		own.fail(errors.New("input/output error"))
		id := c.mustAppend("s1")
		if on := c.holders(id); !slices.Equal(on, []string{"s2", "s3"}) {
			t.Errorf("on %v", on)
		}
		own.fail(nil)
		c.within(2*time.Minute, "the logs to be the same", c.same)

		own.mu.Lock()
		own.stuck = make(chan struct{})
		own.mu.Unlock()
		for i := range 5 {
			start := time.Now()
			c.mustAppend("s1")
			if took := time.Since(start); i > 0 && took > 100*time.Millisecond {
				t.Errorf("append %d took %s with a disk that hangs", i, took)
			}
		}
		close(own.stuck)
		own.mu.Lock()
		own.stuck = nil
		own.mu.Unlock()
		c.within(time.Second, "the logs to be the same", c.same)
	})
}

// TestInvalidAndConflict tells the sender what an own log tells.
func TestInvalidAndConflict(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, all...)
		facts, _ := life(time.Now())
		if err := c.node("s1").Append(t.Context(), facts, nil); err != nil {
			t.Fatal(err)
		}
		other := facts[3]
		ended := *other.Ended
		ended.Reason, other.Ended, other.At = "another", &ended, other.At.Add(time.Second)
		if err := c.node("s1").Append(t.Context(), []crony.Fact{other}, nil); crony.CodeOf(err) != crony.Conflict {
			t.Errorf("another fact under the same number: %v", err)
		}
		if err := c.node("s1").Append(t.Context(), []crony.Fact{{Run: facts[0].Run}}, nil); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("a fact that says nothing: %v", err)
		}
		c.within(2*time.Minute, "the logs to be the same", c.same)
	})
}

// TestNewServer copies days whole to a server that has nothing, and takes over the floor.
func TestNewServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, "s1", "s2")
		start := time.Now()
		for day := range 4 {
			facts, chunks := life(start.AddDate(0, 0, -day))
			if err := c.node("s1").Append(t.Context(), facts, chunks); err != nil {
				t.Fatal(err)
			}
		}
		floor := start.AddDate(0, 0, -2).UTC().Format(time.DateOnly)
		if err := c.node("s1").own.RaiseFloor(floor); err != nil {
			t.Fatal(err)
		}
		c.change(func() { c.voters = all })
		c.start("s3")
		c.within(3*time.Minute, "the floors to be the same", func() bool {
			return c.node("s2").Floor() == floor && c.node("s3").Floor() == floor
		})
		c.within(3*time.Minute, "the logs to be the same", c.same)
		if days, _ := c.node("s3").Days(t.Context()); len(days) != 3 {
			t.Errorf("days of the new server: %v", days)
		}
		c.mustAppend("s3")
	})
}

// TestRefresh brings what only others know of a run, and says when too few answer.
func TestRefresh(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, all...)
		c.isolate("s3", true)
		id := c.mustAppend("s1")
		if err := c.node("s3").Refresh(t.Context(), id); crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("of one that reaches nobody: %v", err)
		}
		for _, x := range all[:2] { // they are not to deliver it by themselves
			c.stop(x)
			c.start(x)
		}
		c.node("s3").own.fail(errors.New("not yet"))
		c.isolate("s3", false)
		if err := c.node("s3").Refresh(t.Context(), id); err == nil {
			t.Error("refreshed, though nothing can be stored")
		}
		c.node("s3").own.fail(nil)
		if err := c.node("s3").Refresh(t.Context(), id, "no run"); err != nil {
			t.Error(err)
		}
		if _, err := c.node("s3").own.Run(t.Context(), id); err != nil {
			t.Errorf("after it was refreshed: %v", err)
		}
	})
}

// TestTampering has batches change on their way, and another be sent than was asked for: none of that is stored.
func TestTampering(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, all...)
		known := c.mustAppend("s1")
		// A server that has nothing of a day yet copies the whole file, and no batch.
		c.within(time.Minute, "the run on all servers", func() bool { return len(c.holders(known)) == len(all) })
		c.change(func() {
			c.tamper = func(batch []byte) []byte {
				batch[len(batch)/2] ^= 1
				return batch
			}
		})
		id, err := c.append("s1")
		if crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("acknowledged though nobody could read it: %v", err)
		}
		time.Sleep(3 * compareEvery)
		if on := c.holders(id); len(on) != 1 {
			t.Errorf("it is on %v", on)
		}
		facts, _ := life(time.Now().Add(-time.Hour))
		b, err := c.node("s1").own.Encode(runlog.Records{Facts: facts})
		if err != nil {
			t.Fatal(err)
		}
		c.change(func() { c.tamper = func([]byte) []byte { return slices.Clone(b.Bytes()) } })
		if err := c.node("s2").Refresh(t.Context(), known); err == nil {
			t.Error("took what it has not asked for")
		}
		if on := c.holders(facts[0].Run); len(on) != 0 {
			t.Errorf("what nobody has asked for is on %v", on)
		}
		c.change(func() { c.tamper = nil })
		c.within(5*time.Minute, "the logs to be the same", c.same)
	})
}

// TestMetrics tells what a server that is away lacks.
func TestMetrics(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, all...)
		time.Sleep(10 * time.Second)
		c.isolate("s3", true)
		for range 5 {
			c.mustAppend("s1")
		}
		time.Sleep(time.Minute)
		families, err := c.node("s1").registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, label := range m.GetLabel() {
					name += " " + label.GetValue()
				}
				got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		for name, want := range map[string]float64{
			"crony_runlog_hints s2": 0, "crony_runlog_hints s3": 5, "crony_runlog_appended_total": 25, "crony_runlog_acked_total s2": 5,
			"crony_runlog_differing_days s2": 0, "crony_runlog_quorum_seconds": 5, "crony_runlog_whole": 1, "crony_runlog_healed_total": 0,
		} {
			if value, there := got[name]; !there || value != want {
				t.Errorf("%s is %g (%t), want %g", name, value, there, want)
			}
		}
		if age := got["crony_runlog_exchange_age_seconds s3"]; age < 60 {
			t.Errorf("the last exchange with the server that is away was %g seconds ago", age)
		}
	})
}

// TestMembersChange counts the servers that vote now.
func TestMembersChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, all...)
		c.mustAppend("s1")
		c.stop("s3")
		c.mustAppend("s1")
		c.change(func() { c.voters = all[:2] })
		time.Sleep(2 * lookEvery)
		if n := len(c.node("s1").Status().Others); n != 1 {
			t.Errorf("%d others", n)
		}
		c.stop("s2")
		if _, err := c.append("s1"); crony.CodeOf(err) != crony.Unavailable {
			t.Errorf("on one of two: %v", err)
		}
		c.change(func() { c.voters = all[:1] })
		time.Sleep(2 * lookEvery)
		c.mustAppend("s1")
	})
}

// TestManyHints tells a server to compare when there is more than is kept in mind.
func TestManyHints(t *testing.T) {
	var h hints
	for i := range maxHints {
		if !h.add(runlog.Item{Day: "2026-11-21", Key: strconv.Itoa(i)}, runlog.Item{Day: "2026-11-21", Key: "x"}) && i < maxHints-1 {
			t.Fatalf("full after %d", i)
		}
	}
	if h.n != 0 {
		t.Errorf("%d hints of more than there is room for", h.n)
	}
	h.add(runlog.Item{Day: "2026-11-22", Key: "a"}, runlog.Item{Day: "2026-11-21", Key: "b"})
	if day, keys := h.take(); day != "2026-11-21" || !slices.Equal(keys, []string{"b"}) || h.n != 1 {
		t.Errorf("took %v of %s, %d left", keys, day, h.n)
	}
}
