package replica

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"crony"
)

// TestProperty appends at random servers while wires are cut, servers freeze, stop and start, and disks refuse. Whatever was
// acknowledged is on every server in the end, and all logs are the same. CRONY_REPLICA_SEED repeats what failed.
func TestProperty(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 3
	}
	first := rand.Uint64()
	if text := os.Getenv("CRONY_REPLICA_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, seeds = seed, 1
	}
	for i := range seeds {
		seed := first + uint64(i)
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			bubble(t, func(t *testing.T) { property(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

// acked is what was acknowledged.
type acked struct {
	mu        sync.Mutex
	facts     []crony.Fact
	stretches []crony.Stretch
}

func property(t *testing.T, random *rand.Rand) {
	servers := all
	if random.IntN(3) == 0 {
		servers = []string{"s1", "s2", "s3", "s4", "s5"}
	}
	c := newCluster(t, servers...)
	var done acked
	var appending sync.WaitGroup
	for step := range 150 {
		trouble(c, random)
		for range random.IntN(4) {
			n := c.node(servers[random.IntN(len(servers))])
			if n == nil {
				continue
			}
			facts, chunks, stretches := something(random, step)
			appending.Go(func() {
				if n.Append(t.Context(), facts, chunks) != nil || n.AppendStretches(t.Context(), stretches) != nil {
					return
				}
				done.mu.Lock()
				defer done.mu.Unlock()
				done.facts, done.stretches = append(done.facts, facts...), append(done.stretches, stretches...)
			})
		}
		time.Sleep(time.Duration(random.IntN(1500)) * time.Millisecond)
	}
	appending.Wait()
	for i, a := range servers {
		if c.node(a) == nil {
			c.start(a)
		}
		c.freeze(a, false)
		c.node(a).own.fail(nil)
		for _, b := range servers[:i] {
			c.wire(a, b, false)
		}
	}
	c.within(10*time.Minute, "the logs to be the same", c.same)
	if len(done.facts) == 0 {
		t.Error("nothing was acknowledged")
	}
	for _, id := range servers {
		check(t, c.node(id), &done)
	}
}

// trouble makes some, or ends some.
func trouble(c *cluster, random *rand.Rand) {
	server := func() string { return c.voters[random.IntN(len(c.voters))] }
	switch random.IntN(24) {
	case 0, 1:
		c.wire(server(), server(), true)
	case 2, 3, 4, 5:
		c.wire(server(), server(), false)
	case 6:
		c.isolate(server(), true)
	case 7, 8:
		c.isolate(server(), false)
	case 9:
		c.freeze(server(), true)
	case 10, 11, 12:
		c.freeze(server(), false)
	case 13:
		if id := server(); c.node(id) != nil {
			c.stop(id)
		}
	case 14, 15, 16:
		if id := server(); c.node(id) == nil {
			c.start(id)
		}
	case 17:
		if n := c.node(server()); n != nil {
			n.own.fail(fmt.Errorf("input/output error"))
		}
	case 18, 19, 20:
		if n := c.node(server()); n != nil {
			n.own.fail(nil)
		}
	}
}

// something is a run, or what comes of it later, of one of some days; and sometimes a stretch.
func something(random *rand.Rand, step int) ([]crony.Fact, []crony.Chunk, []crony.Stretch) {
	at := time.Now().AddDate(0, 0, -random.IntN(3))
	facts, chunks := life(at)
	if random.IntN(3) == 0 {
		facts = facts[:1+random.IntN(3)]
	}
	var stretches []crony.Stretch
	if random.IntN(4) == 0 {
		stretches = []crony.Stretch{{Job: "job", JobUID: "uid", From: at.Add(-time.Hour), To: at, Count: 2 + int64(step), End: crony.EndMissed,
			Reason: "it was away", DecidedAt: at}}
	}
	return facts, chunks, stretches
}

// check looks for everything that was acknowledged in a server's log.
func check(t *testing.T, n *node, done *acked) {
	t.Helper()
	want := map[crony.RunID][]crony.Fact{}
	for _, f := range done.facts {
		want[f.Run] = append(want[f.Run], f)
	}
	for id, facts := range want {
		run, err := n.own.Run(t.Context(), id)
		folded, _ := crony.Fold(facts)
		if err != nil || run.State != folded.State {
			t.Errorf("run %s: %v %s; acknowledged %s", id, err, run.State, folded.State)
		}
		for chunk, err := range n.own.Output(t.Context(), id, false) {
			if err != nil || string(chunk.Data) != "output of "+string(id) {
				t.Errorf("output of %s: %v %q", id, err, chunk.Data)
			}
		}
	}
	for _, s := range done.stretches {
		list, _, err := n.own.Stretches(t.Context(), s.Job, s.To, s.To, 1000)
		found := false
		for _, got := range list {
			found = found || got.To.Equal(s.To) && got.Count == s.Count
		}
		if err != nil || !found {
			t.Errorf("stretch to %s is not there: %v", s.To, err)
		}
	}
}
