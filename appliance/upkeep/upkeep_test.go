package upkeep

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/embedded/member"
)

// cluster is three servers with their stores, as upkeep sees them.
type cluster struct {
	mu       sync.Mutex
	members  []member.Info
	behind   map[uint64]bool // learners that have not caught up
	statuses []crony.ServerStatus
	alarms   []member.Alarm
	freed    crony.Size // what compaction and defragmentation leave of a store
	broken   error
	done     []string
	follows  bool // another leads
}

func (c *cluster) Leading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.follows
}

func (c *cluster) did(what string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = append(c.done, what)
	return c.broken
}

func (c *cluster) deeds() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.done)
}

func (c *cluster) Members(context.Context) ([]member.Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.members), nil
}

func (c *cluster) Promote(_ context.Context, id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.behind[id] {
		return crony.Errorf(crony.Conflict, "not yet")
	}
	for i := range c.members {
		if c.members[i].ID == id {
			c.members[i].Learner = false
		}
	}
	c.done = append(c.done, "promote")
	return nil
}

func (c *cluster) Remove(_ context.Context, id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = slices.DeleteFunc(c.members, func(m member.Info) bool { return m.ID == id })
	c.done = append(c.done, "remove")
	return nil
}

func (c *cluster) Status() member.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return member.Status{Alarms: slices.Clone(c.alarms), Quota: int64(100 * mib)}
}

func (c *cluster) Compact(context.Context, int64) error { return c.did("compact") }

func (c *cluster) Disarm(context.Context) error {
	c.mu.Lock()
	c.alarms = nil
	c.mu.Unlock()
	return c.did("disarm")
}

func (c *cluster) Statuses(context.Context) []crony.ServerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.statuses)
}

func (c *cluster) Defragment(_ context.Context, server string) error {
	c.mu.Lock()
	for i := range c.statuses {
		if s := &c.statuses[i]; s.ID == server {
			s.StoreInUse = min(s.StoreInUse, c.freed)
			s.StoreSize = s.StoreInUse
		}
	}
	c.mu.Unlock()
	return c.did("defragment " + server)
}

const mib = crony.Size(1 << 20)

func three() *cluster {
	c := &cluster{behind: map[uint64]bool{}, freed: mib}
	for _, id := range []string{"s1", "s2", "s3"} {
		c.statuses = append(c.statuses, crony.ServerStatus{ID: id, Name: id, State: crony.ServerUp, StoreSize: 10 * mib, StoreInUse: mib})
		c.members = append(c.members, member.Info{ID: uint64(len(c.members) + 1), Server: id})
	}
	return c
}

// keep runs upkeep on s1 for a time.
func keep(t *testing.T, c *cluster, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := Run(ctx, Options{Self: "s1", Store: c, Servers: c, Log: slog.New(slog.DiscardHandler), Now: time.Now}); err != nil {
		t.Error(err)
	}
}

func TestNothingToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three()
		keep(t, c, time.Hour)
		if done := c.deeds(); len(done) > 0 {
			t.Errorf("did %v", done)
		}
	})
}

func TestLearners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three()
		c.members = append(c.members, member.Info{ID: 4, Address: "10.0.0.4:8472", Learner: true})
		c.behind[4] = true
		keep(t, c, 4*time.Minute)
		if done := c.deeds(); len(done) > 0 {
			t.Errorf("before it had caught up: %v", done)
		}
		c.behind[4] = false
		keep(t, c, 2*time.Second)
		keep(t, c, time.Minute)
		if diff := cmp.Diff([]string{"promote"}, c.deeds()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLearnerThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three()
		c.members = append(c.members, member.Info{ID: 4, Address: "10.0.0.4:8472", Learner: true})
		c.behind[4] = true
		keep(t, c, stalled+5*time.Second)
		if diff := cmp.Diff([]string{"remove"}, c.deeds()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestShrink has all three stores worth defragmenting: one goes after the other, the leader's own last, though it has the most
// to gain.
func TestShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three()
		for i, size := range []crony.Size{900, 300, 400} {
			c.statuses[i].StoreSize, c.statuses[i].StoreInUse = size*mib, 100*mib
		}
		keep(t, c, sizeTick+time.Second)
		if diff := cmp.Diff([]string{"defragment s3"}, c.deeds()); diff != "" {
			t.Errorf("in the first minute: %s", diff)
		}
		keep(t, c, 10*sizeTick)
		if diff := cmp.Diff([]string{"defragment s3", "defragment s2", "defragment s1"}, c.deeds()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestShrinkNeedsAllUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three()
		c.statuses[0].StoreSize = 900 * mib
		c.statuses[2].State = crony.ServerDown
		keep(t, c, 10*sizeTick)
		if done := c.deeds(); len(done) > 0 {
			t.Errorf("did %v while a server was down", done)
		}
	})
}

func TestFullStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three()
		c.alarms = []member.Alarm{{Kind: member.NoSpace}}
		for i := range c.statuses {
			c.statuses[i].StoreSize, c.statuses[i].StoreInUse = 100*mib, 99*mib
		}
		keep(t, c, 10*time.Second)
		want := []string{"compact", "defragment s1", "defragment s2", "defragment s3", "disarm"}
		if diff := cmp.Diff(want, c.deeds()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestFullOfWhatIsNeeded has a store that no compaction helps: to let writes in would fill it at once.
func TestFullOfWhatIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three()
		c.alarms, c.freed = []member.Alarm{{Kind: member.NoSpace}}, 99*mib
		for i := range c.statuses {
			c.statuses[i].StoreSize, c.statuses[i].StoreInUse = 100*mib, 99*mib
		}
		keep(t, c, 10*time.Second)
		if slices.Contains(c.deeds(), "disarm") {
			t.Errorf("writes were let in: %v", c.deeds())
		}
	})
}

func TestFailureIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three()
		c.alarms, c.broken = []member.Alarm{{Kind: member.NoSpace}}, errors.New("disk")
		keep(t, c, 5*time.Second)
		if done := c.deeds(); len(done) < 3 || slices.Contains(done, "disarm") {
			t.Errorf("did %v", done)
		}
		c.broken = nil
		keep(t, c, 2*time.Second)
		if !slices.Contains(c.deeds(), "disarm") {
			t.Error("the store was never let in again")
		}
	})
}

// TestCorrupt leaves alone what only people can decide.
func TestCorrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three()
		c.alarms = []member.Alarm{{Kind: member.Corrupt}}
		keep(t, c, time.Minute)
		if done := c.deeds(); len(done) > 0 {
			t.Errorf("did %v", done)
		}
	})
}

// TestFollower leaves it to the leader.
func TestFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := three()
		c.follows = true
		c.alarms = []member.Alarm{{Kind: member.NoSpace}}
		c.members = append(c.members, member.Info{ID: 4, Address: "10.0.0.4:8472", Learner: true})
		c.statuses[0].StoreSize = 900 * mib
		keep(t, c, 10*time.Minute)
		if done := c.deeds(); len(done) > 0 {
			t.Errorf("did %v", done)
		}
	})
}
