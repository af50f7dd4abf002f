package state

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// ask asks for one occurrence, n seconds after noon.
func (r *rig) ask(job, agent string, epoch int64, n int) Decision {
	r.t.Helper()
	d, err := r.Claim(r.ctx(), []Ask{{Job: job, Agent: agent, Epoch: epoch, At: noon.Add(time.Duration(n) * time.Second)}})
	if err != nil {
		r.t.Fatal(err)
	}
	if d[0].Granted == (d[0].Run == "") || d[0].Granted == (d[0].Reason != "") {
		r.t.Fatalf("a decision is either granted, with a run, or has a reason: %+v", d[0])
	}
	return d[0]
}

func (r *rig) granted(d Decision) crony.RunID {
	r.t.Helper()
	if !d.Granted {
		r.t.Errorf("refused: %s", d.Reason)
	}
	return d.Run
}

func (r *rig) refused(d Decision, why string) {
	r.t.Helper()
	if d.Granted || !strings.Contains(d.Reason, why) {
		r.t.Errorf("%+v, want refused: %s", d, why)
	}
}

func TestClaim(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	epoch := r.give("a1", "a")

	r.refused(r.ask("a", "a1", epoch, 0), "decided already") // due when the job was made: it began after that
	first := r.granted(r.ask("a", "a1", epoch, 2))
	if uid := r.look("a").def.UID; first != crony.OccurrenceRunID(uid, noon.Add(2*time.Second), "") {
		t.Errorf("the run's id %s is not the occurrence's", first)
	}
	if again := r.granted(r.ask("a", "a1", epoch, 2)); again != first {
		t.Errorf("asked again: %s, want %s", again, first)
	}
	r.refused(r.ask("a", "a1", epoch, 1), "decided already")
	r.refused(r.ask("a", "a2", epoch, 2), "moved meanwhile") // another agent that names the epoch
	r.refused(r.ask("a", "a1", epoch-1, 3), "moved meanwhile")
	r.refused(r.ask("a", "a1", epoch+1000, 3), "moved meanwhile")
	r.refused(r.ask("a", "a1", 0, 3), "no assignment")
	r.refused(r.ask("a", "a2", 0, 3), "no assignment") // what is not there has the revision 0
	r.refused(r.ask("a", "a2", -1, 3), "no assignment")
	r.refused(r.ask("b", "a1", epoch, 3), "no such job")
	r.refused(r.ask("a", "a1", epoch, 61), "clock")
	r.granted(r.ask("a", "a1", epoch, 60))
	r.clock.forward(time.Minute)

	moved := r.give("a2", "a")
	r.refused(r.ask("a", "a1", epoch, 61), "moved meanwhile")
	r.refused(r.ask("a", "a2", moved, 60), "decided already")
	r.granted(r.ask("a", "a2", moved, 61))

	r.define(job1("a", "2"))
	r.refused(r.ask("a", "a2", moved, 62), "moved meanwhile")
	changed := r.settle("a")
	r.granted(r.ask("a", "a2", changed, 62))

	if err := r.DeleteJob(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	r.refused(r.ask("a", "a2", changed, 63), "no such job")
	r.define(job1("a", "1"))
	again := r.give("a2", "a")
	if run := r.granted(r.ask("a", "a2", again, 62)); run == first || run != crony.OccurrenceRunID(r.look("a").def.UID, noon.Add(62*time.Second), "") {
		t.Errorf("the run of a job made again is %s", run)
	}
}

// TestClaimAfterPause: what was due while a job was paused stays undone.
func TestClaimAfterPause(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"))
	r.granted(r.ask("a", "a1", r.give("a1", "a"), 5))
	for n, paused := range []bool{true, false} {
		r.clock.forward(10 * time.Second)
		if _, err := r.PauseJob(t.Context(), "a", paused); err != nil {
			t.Fatal(err)
		}
		r.settle("a")
		if j := r.look("a"); !j.claim.At.Equal(noon.Add(time.Duration(n+1)*10*time.Second)) || j.claim.Run != "" {
			t.Errorf("paused %v at %v: the cursor is %+v", paused, r.now(), j.claim)
		}
	}
	epoch := r.settle("a")
	r.refused(r.ask("a", "a1", epoch, 15), "decided already")
	r.refused(r.ask("a", "a1", epoch, 20), "decided already")
	r.granted(r.ask("a", "a1", epoch, 25)) // claimed ahead
	if _, err := r.PauseJob(t.Context(), "a", true); err != nil {
		t.Fatal(err)
	}
	if at := r.look("a").claim.At; !at.Equal(noon.Add(25 * time.Second)) {
		t.Errorf("the cursor went back to %v", at)
	}
}

// TestSameJobInOneCall asks for several occurrences of the same jobs at once, as an agent does that was cut off.
func TestSameJobInOneCall(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("a", "1"), job1("b", "1"))
	epochs := map[string]int64{"b": r.give("a1", "a", "b"), "a": r.settle("a")}
	var asks []Ask
	for _, step := range []struct {
		job string
		n   int
	}{{"a", 1}, {"b", 3}, {"a", 2}, {"a", 2}, {"a", 1}, {"nothing", 1}, {"b", 3}, {"b", 2}, {"a", 4}} {
		asks = append(asks, Ask{Job: step.job, Agent: "a1", Epoch: epochs[step.job], At: noon.Add(time.Duration(step.n) * time.Second)})
	}
	decisions, err := r.Claim(t.Context(), asks)
	if err != nil {
		t.Fatal(err)
	}
	var got []bool
	for _, d := range decisions {
		got = append(got, d.Granted)
	}
	if want := []bool{true, true, true, true, false, false, true, false, true}; !slices.Equal(got, want) {
		t.Errorf("granted %v, want %v: %+v", got, want, decisions)
	}
	if decisions, err := r.Claim(t.Context(), nil); err != nil || len(decisions) != 0 {
		t.Errorf("no asks: %v, %v", decisions, err)
	}
}

// TestOneWinner has a thousand claim one occurrence, through two servers and in the name of two agents, while the job moves
// from one agent to the other.
func TestOneWinner(t *testing.T) {
	client := emptied(t)
	servers := []*rig{newRig(t, client), newRig(t, client)}
	r := servers[0]
	r.define(job1("a", "1"))
	epochs := [2]int64{r.give("a1", "a"), 0}
	at := noon.Add(time.Second)
	var (
		all     sync.WaitGroup
		start   = [2]chan struct{}{make(chan struct{}), make(chan struct{})}
		winners [2]atomic.Int64
	)
	for n := range 1000 {
		agent := n / 2 % 2
		all.Go(func() {
			<-start[agent]
			d, err := servers[n%2].Claim(t.Context(), []Ask{{Job: "a", Agent: fmt.Sprint("a", 1+agent), Epoch: epochs[agent], At: at}})
			if err != nil {
				t.Error(err)
			} else if d[0].Granted {
				winners[agent].Add(1)
			}
		})
	}
	close(start[0])
	epochs[1] = r.give("a2", "a")
	close(start[1])
	all.Wait()
	resp, err := client.Get(t.Context(), claims+"a")
	if err != nil {
		t.Fatal(err)
	}
	held, err := decodeClaim(resp.Kvs[0].Value)
	c := held.claim
	if err != nil || !c.At.Equal(at) {
		t.Fatalf("the claim is %+v, %v", c, err)
	}
	holder := c.Agent
	for _, p := range r.Passes() { // the job was taken from whoever had claimed it
		if p.Unless == crony.OccurrenceRunID(r.look("a").def.UID, at, "") {
			holder += p.Agent
		}
	}
	one, other := winners[0].Load(), winners[1].Load()
	if (one > 0) == (other > 0) || (one > 0) != (holder == "a1") || (other > 0) != (holder == "a2") {
		t.Errorf("%d times granted to a1, %d times to a2; %s holds it", one, other, holder)
	}
}

// TestClaimThroughAServerThatIsBehind: a job deleted and made again is another, also for a server that has not seen it yet.
func TestClaimThroughAServerThatIsBehind(t *testing.T) {
	client := emptied(t)
	r, behind := newRig(t, client), newRig(t, client)
	r.define(job1("a", "1"))
	behind.wait("both servers to know the job", func() bool { return behind.look("a").rev != 0 })
	behind.link.hold()
	if err := r.DeleteJob(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	r.define(job1("a", "1"))
	epoch := r.give("a1", "a")
	asked := behind.asked()
	go func() {
		<-asked
		behind.link.release()
	}()
	run := behind.granted(behind.ask("a", "a1", epoch, 1))
	if want := crony.OccurrenceRunID(r.look("a").def.UID, noon.Add(time.Second), ""); run != want {
		t.Errorf("the run's id is %s, want that of the job as it is now, %s", run, want)
	}
}

// TestClaimsAgainstAModel makes random claims by several agents while jobs move, change, pause and are made again, and
// compares each decision with what a few variables say.
func TestClaimsAgainstAModel(t *testing.T) {
	type model struct {
		agent  string
		epoch  int64
		cursor int // seconds after noon
		holder Ask // of the cursor
		old    []int64
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := newRig(t, emptied(t))
	names := []string{"a", "b", "c"}
	jobs := map[string]*model{}
	refresh := func(name string) {
		r.settle(name)
		m, a := jobs[name], r.newest(name)
		m.old, m.agent, m.epoch = append(m.old, m.epoch), a.Agent, a.Epoch
	}
	now := 0
	for _, name := range names {
		jobs[name] = &model{}
		r.define(job1(name, ""))
		r.give("a0", name)
		refresh(name)
	}
	type grant struct {
		job string
		at  time.Time
	}
	grants := map[grant]Ask{}
	for step := range 400 {
		name := names[random.IntN(len(names))]
		m := jobs[name]
		switch random.IntN(20) {
		case 0:
			r.give(fmt.Sprint("a", random.IntN(3)), name)
			refresh(name)
		case 1:
			r.define(job1(name, fmt.Sprint(step)))
			refresh(name)
		case 2:
			now += random.IntN(3)
			r.clock.forward(noon.Add(time.Duration(now) * time.Second).Sub(r.clock.now()))
			for range 2 {
				if _, err := r.PauseJob(t.Context(), name, !r.look(name).def.Job.Paused); err != nil {
					t.Fatal(err)
				}
				refresh(name)
			}
			if now > m.cursor {
				m.cursor, m.holder = now, Ask{}
			}
		default:
			asks, seconds := make([]Ask, 1+random.IntN(4)), make([]int, 4)
			for i := range asks {
				m := jobs[names[random.IntN(len(names))]]
				asks[i] = Ask{Job: name, Agent: m.agent, Epoch: m.epoch}
				if random.IntN(8) == 0 {
					asks[i].Agent = fmt.Sprint("a", random.IntN(3))
				}
				if random.IntN(8) == 0 {
					asks[i].Epoch = m.old[random.IntN(len(m.old))]
				}
				seconds[i] = jobs[name].cursor + random.IntN(5) - 2
				asks[i].At = noon.Add(time.Duration(seconds[i]) * time.Second)
			}
			decisions, err := r.Claim(t.Context(), asks)
			if err != nil {
				t.Fatal(err)
			}
			for i, a := range asks {
				ours := a.Agent == m.agent && a.Epoch == m.epoch
				want := ours && (seconds[i] > m.cursor && seconds[i] <= now+60 || seconds[i] == m.cursor && m.holder == a)
				if decisions[i].Granted != want {
					t.Fatalf("step %d: %+v of %+v: %+v, want granted %v (cursor %d, %+v)", step, a, asks, decisions[i], want, m.cursor, m)
				}
				if !want {
					continue
				}
				if before, twice := grants[grant{name, a.At}]; twice && before != a {
					t.Fatalf("step %d: %+v was granted before, to %+v", step, a, before)
				}
				grants[grant{name, a.At}] = a
				m.cursor, m.holder = seconds[i], a
			}
			now = max(now, jobs[name].cursor-50)
			r.clock.forward(noon.Add(time.Duration(now) * time.Second).Sub(r.clock.now()))
		}
	}
	if len(grants) < 50 {
		t.Errorf("only %d claims were granted", len(grants))
	}
	checkClaims(t, r.client)
}

// checkClaims reads the whole history of the claims: those of a job grow.
func checkClaims(t *testing.T, client *clientv3.Client) {
	t.Helper()
	now, err := client.Get(t.Context(), claims, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range now.Kvs {
		last, rev := claimsBefore(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)), kv.ModRevision
		for rev >= kv.CreateRevision {
			resp, err := client.Get(t.Context(), string(kv.Key), clientv3.WithRev(rev))
			if err != nil {
				t.Fatal(err)
			}
			value := string(resp.Kvs[0].Value)
			if at := value[:len(last)]; at > last {
				t.Errorf("%s: %s is followed by %s", kv.Key, value, last)
			}
			last, rev = value[:len(last)], resp.Kvs[0].ModRevision-1
		}
	}
}

// FuzzClaimOrder: as texts, claims and the bounds for them stand in the order of their times.
func FuzzClaimOrder(f *testing.F) {
	first, last := time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
	f.Add(first.Unix(), int64(0), last.Unix(), int64(999_999_999), "a1")
	f.Add(noon.Unix(), int64(0), noon.Unix(), int64(1), "a\"\n\x00\xffé")
	f.Add(noon.Unix(), int64(100_000_000), noon.Unix(), int64(99_999_999), "")
	f.Fuzz(func(t *testing.T, s1, n1, s2, n2 int64, agent string) {
		at := func(s, n int64) time.Time {
			return time.Unix(first.Unix()+abs(s)%(last.Unix()-first.Unix()), abs(n)%1e9).In(time.FixedZone("", int(n%40_000)))
		}
		a, b := at(s1, n1), at(s2, n2)
		x, y := claimsBefore(a), claimsBefore(b)
		if cmp.Compare(x, y) != a.Compare(b) {
			t.Errorf("%v and %v compare as %d, %s and %s as %d", a, b, a.Compare(b), x, y, cmp.Compare(x, y))
		}
		value := claimValue(crony.Claim{At: a, Run: "R", Agent: agent, Epoch: n1}, b)
		if earlier := a.Before(b); earlier != (value < y) {
			t.Errorf("%s < %s is not %v", value, y, earlier)
		}
		held, err := decodeClaim([]byte(value))
		if got := held.claim; err != nil || !got.At.Equal(a) || got.Run != "R" || got.Epoch != n1 || !held.since.Equal(b) ||
			got.Agent != agent && utf8.ValidString(agent) {
			t.Errorf("%s is read as %+v, %v", value, got, err)
		}
	})
}

func abs(n int64) int64 { return max(n, -(n + 1)) }
