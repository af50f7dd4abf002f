//go:build linux

package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"crony"
	"crony/embedded/state"
)

// tell is the story: jobs are defined, trouble comes and goes, and all is well again for long enough.
func (s *sim) tell() error {
	for _, v := range s.servers {
		if err := v.begin(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.leads = s.servers[0].id
	s.mu.Unlock()
	for _, h := range s.hosts {
		if err := h.begin(); err != nil {
			return err
		}
	}
	time.Sleep(2 * time.Second)
	if err := s.define(); err != nil {
		return err
	}
	t := &simTroubles{sim: s, busy: map[string]bool{}, broken: map[string]bool{}}
	for over := time.Now().Add(simTrouble); time.Now().Before(over); {
		time.Sleep(time.Duration(s.rng.ExpFloat64() * float64(3*time.Second)))
		t.next()
	}
	t.healing.Wait()
	if err := t.failed(); err != nil {
		return err
	}
	s.note("the trouble is over")
	time.Sleep(simSettle)
	s.note("it is quiet")
	time.Sleep(simQuiet)
	return nil
}

// quiet stops the agents, so that nothing is added to what is judged.
func (s *sim) quiet() {
	for _, h := range s.hosts {
		if h.life != nil {
			h.life.retire()
		}
	}
}

// end stops the servers.
func (s *sim) end() {
	for _, v := range s.servers {
		if v.isUp() {
			v.kill()
		}
	}
	s.graves.Wait()
}

// define makes the jobs: of every mode of placement, and with every policy that says what to do in trouble.
func (s *sim) define() error {
	modes := []crony.PlacementMode{crony.PlaceOne, crony.PlaceRace, crony.PlaceEach}
	for n := range 11 {
		where := &crony.Placement{Mode: modes[n%3]}
		if n == 0 { // it never moves
			where.Agent = pick(s.rng, s.hosts...).id
		}
		j := crony.Job{Name: fmt.Sprintf("job-%d", n), Shell: &crony.Shell{Command: "true"}, Placement: where,
			Schedule:     fmt.Sprintf("*/%d * * * * *", 1+s.rng.IntN(3)),
			OnDisconnect: pick(s.rng, crony.DisconnectRun, crony.DisconnectHold, crony.DisconnectStop),
			OnLost:       pick(s.rng, crony.LostFail, crony.LostRerun),
			Overlap:      pick(s.rng, crony.OverlapAllow, crony.OverlapAllow, crony.OverlapForbid, crony.OverlapQueue),
			Misfire:      &crony.Misfire{Policy: pick(s.rng, crony.MisfireSkip, crony.MisfireOnce, crony.MisfireAll), Limit: 20}}
		if n == 8 { // whose waits are not to be in the way of what is due
			j.Overlap = crony.OverlapAllow
			j.Retry = &crony.Retry{Interval: crony.Duration(time.Second), On: []crony.RetryOn{crony.RetryFailed}}
			if s.rng.IntN(2) == 0 {
				j.Retry.On = append(j.Retry.On, crony.RetryLost)
			}
		}
		if n > 8 { // likewise; of modes one and race
			j.Overlap = crony.OverlapAllow
			j.Retry = &crony.Retry{Attempts: 4, Interval: crony.Duration(500 * time.Millisecond), Elsewhere: true}
			j.Retry.On = pick(s.rng, []crony.RetryOn{crony.RetryFailed}, []crony.RetryOn{crony.RetryFailed, crony.RetryLost})
		}
		s.jobs = append(s.jobs, j)
	}
	m := crony.Manifest{Jobs: s.jobs}
	if faults := m.Faults(); len(faults) > 0 {
		return fmt.Errorf("the jobs are wrong: %v", faults)
	}
	if _, err := s.servers[0].store.Define(context.Background(), m, crony.ApplyOptions{}); err != nil {
		return fmt.Errorf("define the jobs: %w", err)
	}
	return nil
}

// simTroubles makes trouble, and ends it.
type simTroubles struct {
	*sim
	healing sync.WaitGroup

	state  sync.Mutex
	busy   map[string]bool // servers and agents that are in trouble
	broken map[string]bool // servers that are cut off
	err    error
}

// next makes one trouble, if whom it is for is not in trouble already.
func (t *simTroubles) next() {
	v, h := pick(t.rng, t.servers...), pick(t.rng, t.hosts...)
	length := time.Duration(t.rng.ExpFloat64() * float64(pick(t.rng, 500*time.Millisecond, 4*time.Second, 12*time.Second)))
	switch t.rng.IntN(23) {
	case 0, 1:
		t.trouble(v.id, "killed", length, func() error { return t.down(v, true) }, func() error { return t.rise(v) })
	case 2:
		t.trouble(v.id, "stopped", length, func() error { return t.down(v, false) }, func() error { return t.rise(v) })
	case 3, 4:
		t.trouble(v.id, "cut off from the others", length, t.cutting(v, true), t.cutting(v, false))
	case 5:
		t.trouble(v.id, "cut off from all", length, t.isolating(v, true), t.isolating(v, false))
	case 6:
		t.trouble(h.id, "cut off from "+v.id, length, t.wire(h, v, true), t.wire(h, v, false))
	case 7, 8:
		t.trouble(h.id, "cut off", 3*length, t.wires(h, true), t.wires(h, false))
	case 9, 10:
		t.trouble(h.id, "killed", length, func() error { return h.life.kill() }, h.begin)
	case 11:
		t.trouble(h.id, "stopped", length, func() error { return h.life.retire() }, h.begin)
	case 12:
		step := pick[time.Duration](t.rng, -1, 1) * time.Duration(t.rng.Int64N(int64(20*time.Second)))
		t.trouble(h.id, fmt.Sprint("clock is off by ", step), length, t.clock(h, step), t.clock(h, 0))
	case 13, 14:
		behind := time.Duration(t.rng.Int64N(int64(5 * time.Second)))
		t.trouble(v.id, fmt.Sprint("sees changes late by ", behind), 2*length, t.lag(v, behind), t.lag(v, 0))
	case 15, 16:
		t.trouble(h.id, "crashes", length, func() error { return t.crash(h) }, h.begin)
	case 17:
		t.trouble(v.id, "crashes", length, func() error { return t.crashServer(v) }, func() error { return t.rise(v) })
	case 18:
		t.trouble(h.id, "stands still", 2*length, t.freeze(h, true), t.freeze(h, false))
	case 19:
		t.note("the leading moves")
		t.elect()
	case 20, 21:
		j := pick(t.rng, t.jobs...).Name
		t.trouble(j, "paused", 2*length, t.pause(j, true), t.pause(j, false))
	case 22:
		j := pick(t.rng, t.jobs...)
		t.trouble(j.Name, "changed", length, t.change(j, "once"), t.change(j, "again"))
	}
}

// pause has a person pause a job, or resume it.
func (t *simTroubles) pause(job string, paused bool) func() error {
	return t.bySomeServer(func(ctx context.Context, store *state.Store) error {
		_, err := store.PauseJob(ctx, job, paused)
		return err
	})
}

// change has a person change what the job's schedule does not depend on.
func (t *simTroubles) change(j crony.Job, title string) func() error {
	j.Title = title
	return t.bySomeServer(func(ctx context.Context, store *state.Store) error {
		_, err := store.Define(ctx, crony.Manifest{Jobs: []crony.Job{j}}, crony.ApplyOptions{})
		return err
	})
}

// bySomeServer has a person try a change at one server after the other, until it is made.
func (t *simTroubles) bySomeServer(do func(context.Context, *state.Store) error) func() error {
	return func() error {
		for n := 0; ; n++ {
			v := t.servers[n%len(t.servers)]
			v.mu.Lock()
			store, up := v.store, v.up
			v.mu.Unlock()
			if !up {
				time.Sleep(simAgain)
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			err := do(ctx, store)
			cancel()
			if err == nil || crony.CodeOf(err) != crony.Unavailable && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
			time.Sleep(simAgain)
		}
	}
}

// simAgain is how long a person waits before trying again.
const simAgain = 200 * time.Millisecond

// trouble begins, and ends after a time.
func (t *simTroubles) trouble(who, what string, length time.Duration, begin, end func() error) {
	t.state.Lock()
	busy := t.busy[who]
	t.busy[who] = true
	t.state.Unlock()
	if busy {
		return
	}
	t.healing.Go(func() {
		t.note("%s %s", who, what)
		err := begin()
		if err == nil {
			time.Sleep(length)
			err = end()
		}
		t.note("%s is well again", who)
		t.state.Lock()
		defer t.state.Unlock()
		t.busy[who] = false
		if err != nil && t.err == nil {
			t.err = fmt.Errorf("%s %s: %w", who, what, err)
		}
	})
}

func (t *simTroubles) failed() error {
	t.state.Lock()
	defer t.state.Unlock()
	return t.err
}

func (t *simTroubles) down(v *simServer, kill bool) error {
	t.separate(v, true)
	if kill {
		v.kill()
		return nil
	}
	return v.end()
}

func (t *simTroubles) rise(v *simServer) error {
	if err := v.begin(); err != nil {
		return err
	}
	t.separate(v, false)
	return nil
}

func (t *simTroubles) cutting(v *simServer, cut bool) func() error {
	return func() error {
		t.separate(v, cut)
		return nil
	}
}

func (t *simTroubles) isolating(v *simServer, cut bool) func() error {
	return func() error {
		t.separate(v, cut)
		for _, h := range t.hosts {
			h.wires[v.id].Cut(cut)
		}
		return nil
	}
}

func (t *simTroubles) wire(h *simHost, v *simServer, cut bool) func() error {
	return func() error {
		h.wires[v.id].Cut(cut)
		return nil
	}
}

func (t *simTroubles) wires(h *simHost, cut bool) func() error {
	return func() error {
		for _, w := range h.wires {
			w.Cut(cut)
		}
		return nil
	}
}

func (t *simTroubles) clock(h *simHost, step time.Duration) func() error {
	return func() error {
		t.mu.Lock()
		defer t.mu.Unlock()
		h.step = step
		return nil
	}
}

func (t *simTroubles) lag(v *simServer, behind time.Duration) func() error {
	return func() error {
		t.mu.Lock()
		defer t.mu.Unlock()
		v.behind = behind
		return nil
	}
}

// separate takes a server from the others, or gives it back. Where there are not two together, none can do anything.
func (t *simTroubles) separate(v *simServer, apart bool) {
	t.state.Lock()
	defer t.state.Unlock()
	t.broken[v.id] = apart
	var together []string
	for _, v := range t.servers {
		if !t.broken[v.id] {
			together = append(together, v.id)
		}
	}
	for _, v := range t.servers {
		v.cut(t.broken[v.id] || len(together) < 2)
	}
	t.mu.Lock()
	led := t.leads
	t.mu.Unlock()
	if t.broken[led] || led == "" {
		t.elect()
	}
}

// elect has the servers that are together choose who leads, after about the time that they need for that.
func (t *simTroubles) elect() {
	rng := rand.New(rand.NewPCG(t.seed, uint64(time.Since(t.began))))
	time.AfterFunc(300*time.Millisecond+time.Duration(rng.Int64N(int64(900*time.Millisecond))), func() {
		t.state.Lock()
		defer t.state.Unlock()
		var able []string
		for _, v := range t.servers {
			if !t.broken[v.id] {
				able = append(able, v.id)
			}
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.leads = ""
		if len(able) >= 2 {
			t.leads = pick(rng, able...)
		}
		t.events = append(t.events, fmt.Sprintf("%8.3f %q leads", time.Since(t.began).Seconds(), t.leads))
	})
}
