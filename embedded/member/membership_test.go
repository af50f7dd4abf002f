package member

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"crony"
	"crony/internal/pki"
)

// TestMembership takes a cluster from one to three, hands over the leadership, and removes one that runs, one that is away,
// and one that still learns.
func TestMembership(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	ms, os := f.three()
	one, two, three := ms[0], ms[1], ms[2]
	put(t, two, "k", "v")
	for _, m := range ms {
		if got := voters(t, m); got != "map[s1:true s2:true s3:true]" || get(t, m, "k") != "v" {
			t.Errorf("%s sees %s and %q", m.dir.path, got, get(t, m, "k"))
		}
	}
	fails(t, "a second member at one address", one.Add(t.Context(), os[1].Peer.Listen), crony.Conflict, "has this address")

	fails(t, "a transfer by one that does not lead", two.Transfer(t.Context(), two.ID()), crony.Conflict, "does not lead")
	fails(t, "a transfer to nobody", one.Transfer(t.Context(), 1), crony.Conflict, "could not be handed over")
	began, elected := time.Now(), three.Elected()
	if err := one.Transfer(t.Context(), two.ID()); err != nil {
		t.Error(err)
	}
	t.Logf("handing over: %s", time.Since(began).Round(time.Millisecond))
	f.wait("the second to lead", func() bool { return two.Leading() && !one.Leading() })
	f.wait("the third to hear of it", func() bool {
		select {
		case <-elected:
			return true
		default:
			return false
		}
	})

	if err := two.Remove(t.Context(), three.ID()); err != nil {
		t.Fatal(err)
	}
	isRemovedSoon(t, three)
	shut(t, three)
	refused(t, os[2], crony.Forbidden, "was removed from the cluster")
	if err := one.Remove(t.Context(), three.ID()); err != nil {
		t.Errorf("removed once more: %v", err)
	}

	away, awayOptions := f.join(one, "s4")
	shut(t, away)
	if err := one.Remove(t.Context(), away.ID()); err != nil {
		t.Fatal(err)
	}
	refused(t, awayOptions, crony.Forbidden, "was removed from the cluster") // the others tell it

	learner := f.learn(one, f.options("s5"))
	told := make(chan error, 1)
	go func() { told <- learner.WaitVoter(t.Context()) }()
	if err := one.Remove(t.Context(), learner.ID()); err != nil {
		t.Fatal(err)
	}
	fails(t, "waiting for a vote that never comes", <-told, crony.Forbidden, "was removed from the cluster")
	put(t, one, "k", "w")
}

func isRemovedSoon(t *testing.T, m *Member) {
	t.Helper()
	began := time.Now()
	select {
	case <-m.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("a removed member goes on")
	}
	t.Logf("removed, and stopped after %s", time.Since(began).Round(time.Millisecond))
	fails(t, "the removed member", m.Err(), crony.Forbidden, "was removed from the cluster")
	if m.Leading() || m.Ready() == nil {
		t.Error("a removed member goes on in its own eyes")
	}
}

// TestRemovedKnowsByItself: a member that has learned of its removal needs nobody to tell it once more, whether it was up then
// or has heard it from the others later, which its log knows nothing of.
func TestRemovedKnowsByItself(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]bool{"up": false, "away": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFellows(t)
			ms, os := f.three()
			if away {
				shut(t, ms[2])
			}
			if err := ms[0].Remove(t.Context(), ms[2].ID()); err != nil {
				t.Fatal(err)
			}
			if away {
				refused(t, os[2], crony.Forbidden, "was removed from the cluster")
				closeAll(t, ms[:2]...)
			} else {
				isRemovedSoon(t, ms[2])
				closeAll(t, ms...)
			}
			refused(t, os[2], crony.Forbidden, "was removed from the cluster")
		})
	}
}

// TestLearner: a member without a vote says so, whatever it can do already, stays one when it starts again, and is alone in
// this.
func TestLearner(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	one, _ := f.found("s1")
	put(t, one, "k", "v")
	o := f.options("s2")
	if err := errors.Join(one.Add(t.Context(), o.Peer.Listen), nil); err != nil {
		t.Fatal(err)
	}
	fails(t, "another learner", one.Add(t.Context(), f.address()), crony.Conflict, "another server is joining")
	fails(t, "a vote before it has started", one.Promote(t.Context(), members(t, one)[1].ID), crony.Conflict, "not caught up")

	two := open(t, f.admit(one, o))
	f.wait("the learner to know what it is", func() bool { return two.Status().Learner && two.Ready() == nil })
	soon, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := two.WaitVoter(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a learner waits for its vote: %v", err)
	}
	fails(t, "leading without a vote", one.Transfer(t.Context(), two.ID()), crony.Conflict, "could not be handed over")

	shut(t, two)
	two = open(t, o)
	if err := two.WaitVoter(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a learner that was started again waits for its vote: %v", err)
	}
	f.promote(one, two)
	if two.Status().Learner || get(t, two, "k") != "v" {
		t.Errorf("with its vote: %+v, %q", two.Status(), get(t, two, "k"))
	}
	if two.Token() != one.Token() {
		t.Errorf("tokens are %s and %s", one.Token(), two.Token())
	}
}

// TestJoiningCutOff leaves behind what a power cut may leave of a first start, and starts again.
func TestJoiningCutOff(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	one, _ := f.found("s1")
	put(t, one, "k", "v")
	o := f.options("s2")
	if err := one.Add(t.Context(), o.Peer.Listen); err != nil {
		t.Fatal(err)
	}
	joins := f.admit(one, o)
	dir, err := claim(o.Dir, claimant{server: o.Server, create: true, join: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.release(); err != nil { // before there was a log
		t.Fatal(err)
	}
	refused(t, o, crony.NotFound, "holds no data of a server")
	two := open(t, joins)
	f.wait("the learner to have something", func() bool { return two.Status().Applied > 3 })
	shut(t, two)
	if err := os.WriteFile(dir.unfinished(), []byte(joining), 0o600); err != nil { // after it had promised to keep it
		t.Fatal(err)
	}
	two = open(t, joins)
	f.promote(one, two)
	if got := get(t, two, "k"); got != "v" {
		t.Errorf("k is %q", got)
	}
}

// TestWiped: a member that has lost its data is nobody, and can't come back as who it was.
func TestWiped(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	one, _ := f.found("s1")
	two, o := f.join(one, "s2")
	three, _ := f.join(one, "s3")
	shut(t, two)
	if err := os.RemoveAll(o.Dir); err != nil {
		t.Fatal(err)
	}
	refused(t, o, crony.NotFound, "holds no data of a server")
	refused(t, f.admit(one, o), crony.Conflict, "its data is gone")
	asAnother := f.admit(one, o)
	asAnother.Server.ID = "s4"
	refused(t, asAnother, crony.Invalid, "don't include this one")

	// Its place is taken by another, once it is removed; before, one more is not let in.
	soon, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	fails(t, "one more while one is dead", one.Add(soon, f.address()), crony.Conflict, "not all servers are up")
	if err := one.Remove(t.Context(), two.ID()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	four := f.learn(one, f.replacement(o, "s4"))
	f.promote(one, four)
	t.Logf("the dead one was replaced within %s", time.Since(began).Round(time.Millisecond))
	put(t, three, "k", "v")
	if got := voters(t, four); got != "map[s1:true s3:true s4:true]" || get(t, four, "k") != "v" {
		t.Errorf("it sees %s and %q", got, get(t, four, "k"))
	}
}

// replacement are the options of a server at the address of another.
func (f *fellows) replacement(of Options, id string) Options {
	o := f.options(id)
	o.Peer.Listen = of.Peer.Listen
	return o
}

// TestJoinRefused: who was not added is told so, who has another authority's certificate is told nothing.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	f, others := newFellows(t), newFellows(t)
	one, _ := f.found("s1")
	refused(t, invited(f.admit(one, f.options("s2"))), crony.Conflict, "the cluster has no member at")
	refused(t, invited(others.admit(one, others.options("s2"))), crony.Unavailable, "no server of the cluster answers")
	if got := voters(t, one); got != "map[s1:true]" {
		t.Errorf("members are %s", got)
	}
	for want, change := range map[string]func(*Options){
		"either the first":                 func(o *Options) { o.Create = true },
		"must know the address":            func(o *Options) { o.Peer.Listen = "127.0.0.1:0" },
		"don't include this one":           func(o *Options) { o.Members = o.Members[:1] },
		"must be HOST:PORT, not nowhere":   func(o *Options) { o.Members[0].Address = "nowhere" },
		"the quota is negative":            func(o *Options) { o.QuotaBytes = -1 },
		"must be HOST:PORT, not 1.2.3.4:0": func(o *Options) { o.Peer.Advertise = "1.2.3.4:0" },
	} {
		o := invited(f.admit(one, f.options("s3")))
		change(&o)
		refused(t, o, crony.Invalid, want)
	}
}

// invited are the options of a server that takes itself for a member.
func invited(o Options) Options {
	o.Members = append(o.Members, Address{"", o.Peer.Listen})
	return o
}

// TestMoves changes the address of one member of three while the others are up, then of one that starts before them, and
// starts all at once.
func TestMoves(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	ms, os := f.three()
	at := func(m *Member, o Options) bool {
		for _, x := range members(t, m) {
			if x.Server == o.Server.ID {
				return x.Address == o.Peer.Listen
			}
		}
		return false
	}
	shut(t, ms[2])
	os[2].Peer.Listen = f.address()
	began := time.Now()
	ms[2] = open(t, os[2])
	t.Logf("a member that has moved is back after %s", time.Since(began).Round(time.Millisecond))
	f.wait("its new address", func() bool { return at(ms[0], os[2]) })

	closeAll(t, ms...)
	os[1].Peer.Listen = f.address()
	moved := make(chan *Member, 1)
	go func() { moved <- f.reopen(os[1])[0] }()
	ms = f.reopen(os[0], os[2])
	ms = append(ms, <-moved)
	f.wait("its new address", func() bool { return at(ms[0], os[1]) && at(ms[1], os[1]) })
	put(t, ms[2], "k", "v")

	closeAll(t, ms...)
	began = time.Now()
	ms = f.reopen(os...)
	t.Logf("all are back after %s", time.Since(began).Round(time.Millisecond))
	if got := get(t, ms[0], "k"); got != "v" {
		t.Errorf("k is %q", got)
	}
}

// TestClosing: nobody waits for a server that stops, whether it leads or not, and whether the others stop too or not.
func TestClosing(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	ms, os := f.three()
	took := func(what string, atMost time.Duration, do func()) {
		began := time.Now()
		do()
		t.Logf("%s: %s", what, time.Since(began).Round(time.Millisecond))
		if time.Since(began) > atMost {
			t.Errorf("%s took %s", what, time.Since(began))
		}
	}
	lead := f.leader(ms...)
	took("closing the leader", 5*time.Second, func() { shut(t, ms[lead]) })
	took("after that, a write", 5*time.Second, func() { put(t, ms[(lead+1)%3], "k", "v") })
	ms[lead] = open(t, os[lead])
	took("closing all three", 8*time.Second, func() { closeAll(t, ms...) })
	ms = f.reopen(os...)
	lead = f.leader(ms...)
	closeAll(t, ms[(lead+1)%3], ms[(lead+2)%3])
	f.wait("the loss of the quorum to be known", func() bool { return ms[lead].Ready() != nil })
	if got := voters(t, ms[lead]); got != "map[s1:true s2:true s3:true]" || ms[lead].Leading() {
		t.Errorf("without a quorum: %s, leading %t", got, ms[lead].Leading())
	}
	fails(t, "without a quorum", ms[lead].Ready(), crony.Unavailable, "no leader")
	soon, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	fails(t, "adding without a quorum", ms[lead].Add(soon, f.address()), crony.Conflict, "not all servers are up")
	took("closing without a quorum", 5*time.Second, func() { shut(t, ms[lead]) })
	if err := ms[lead].Err(); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

// TestTrusts reads the authorities in the file when the member opens.
func TestTrusts(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	next, err := f.ca.Successor(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	o := f.options("s1")
	o.Create = true
	both := append(next.Root().PEM(), f.ca.Root().PEM()...)
	if err := os.WriteFile(o.Peer.CAFile, both, 0o600); err != nil {
		t.Fatal(err)
	}
	m := open(t, o)
	if got := m.Trusts(); len(got) != 2 || got[0] != next.Root().Fingerprint() || got[1] != f.ca.Root().Fingerprint() {
		t.Errorf("trusts are %v", got)
	}
	// A member whose certificate is of the next authority joins one that has the first.
	joins := f.options("s2")
	leaf, err := next.Issue(pki.Identity{Cluster: "c1", Role: pki.Server, ID: "s2"}, nil, time.Now())
	if err := errors.Join(err, leaf.Save(joins.Peer.CertFile), os.WriteFile(joins.Peer.CAFile, both, 0o600)); err != nil {
		t.Fatal(err)
	}
	two := f.learn(m, joins)
	f.promote(m, two)
	put(t, two, "k", "v")
}

// TestCorruption changes a byte in one member's database: it must not come back with it.
func TestCorruption(t *testing.T) {
	t.Parallel()
	f := newFellows(t)
	ms, os := f.three()
	put(t, ms[0], "k", "VALUE")
	get(t, ms[2], "k") // so that it has it
	closeAll(t, ms...)
	overwriteAll(t, filepath.Join(os[2].Dir, "member", "snap", "db"), "VALUE", "VALUF")
	ms = f.reopen(os[0], os[1])
	refused(t, os[2], crony.Internal, "can't be trusted")
	if got := get(t, ms[0], "k"); got != "VALUE" {
		t.Errorf("the others have %q", got)
	}
}

func overwriteAll(t *testing.T, file, old, damage string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(text, []byte(old)) {
		t.Fatalf("%s has no %q: %v", file, old, err)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte(old), []byte(damage)), 0o600); err != nil {
		t.Fatal(err)
	}
}
