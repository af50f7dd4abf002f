//go:build linux

package agent

import (
	"context"
	"fmt"
	"time"

	"crony"
)

// tell is the story, up to where everything is up and quiet.
func (s *soak) tell() error {
	if err := s.serve(); err != nil {
		return err
	}
	if err := s.host.begin(); err != nil {
		return err
	}
	s.pass(time.Second)
	for _, name := range s.names {
		if err := s.define(name, false); err != nil {
			return err
		}
	}
	events := s.days*4 + len(s.names)*6
	gap := time.Duration(s.days) * 24 * time.Hour / time.Duration(events)
	for range events {
		s.pass(time.Duration(s.rng.ExpFloat64() * float64(gap)))
		if err := s.event(); err != nil {
			return err
		}
	}
	s.setClock(0)
	s.lose.Store(int32(loseNothing))
	for range 600 {
		s.pass(time.Minute)
		if s.quiet() {
			return s.host.life.retire()
		}
	}
	return fmt.Errorf("it does not get quiet: %d runs and %d records are open", len(s.runs.Unfinished(soakAgentID)),
		len(s.server.store.Passes()))
}

// event is one thing that happens. Most of them happen to jobs; the others to what they run on.
func (s *soak) event() error {
	if s.rng.IntN(s.days*4+len(s.names)*6) < s.days*4 {
		return s.trouble()
	}
	if s.server == nil {
		return nil
	}
	name := s.someone()
	c := s.chapters[name]
	if c == nil {
		return s.define(name, false)
	}
	switch s.rng.IntN(12) {
	case 0, 1, 2:
		return s.pause(name, !c.now().Job.Paused)
	case 3, 4, 5:
		return s.define(name, false)
	case 6, 7, 8:
		return s.define(name, true)
	case 9:
		return s.remove(name)
	default:
		return s.order(name)
	}
}

// someone returns the name of a job, often one that comes due sooner than others.
func (s *soak) someone() string {
	name, first := pick(s.rng, s.names...), time.Time{}
	for range s.rng.IntN(2) * 16 {
		other := pick(s.rng, s.names...)
		c := s.chapters[other]
		if c == nil || c.now().Job.Paused {
			continue
		}
		if at := c.now().Plan().Next(s.now()); !at.IsZero() && (first.IsZero() || at.Before(first)) {
			name, first = other, at
		}
	}
	return name
}

// define gives a job a new schedule, or just a new command.
func (s *soak) define(name string, keep bool) error {
	j := soakJob(s.rng, name, s.now(), s.days)
	c := s.chapters[name]
	if keep {
		shell := j.Shell
		j = c.now().Job
		j.Shell = shell
	}
	s.counts["definitions"]++
	m := crony.Manifest{Jobs: []crony.Job{j}}
	if _, err := s.server.store.Define(context.Background(), m, crony.ApplyOptions{}); err != nil {
		return fmt.Errorf("define %s: %w", name, err)
	}
	return s.note(name)
}

// note writes into the book how a job stands.
func (s *soak) note(name string) error {
	st, err := s.server.store.Job(context.Background(), name)
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	c := s.chapters[name]
	if c == nil {
		c = &chapter{}
		s.chapters[name] = c
		s.book = append(s.book, c)
	}
	if n := len(c.defs); n == 0 || c.defs[n-1].Generation != st.Generation {
		c.defs = append(c.defs, st.Definition)
	}
	return nil
}

func (s *soak) pause(name string, paused bool) error {
	s.counts["pauses"]++
	if _, err := s.server.store.PauseJob(context.Background(), name, paused); err != nil {
		return fmt.Errorf("pause %s: %w", name, err)
	}
	return s.note(name)
}

func (s *soak) remove(name string) error {
	s.counts["removals"]++
	before := s.now()
	if err := s.server.store.DeleteJob(context.Background(), name); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	if !s.now().Equal(before) {
		return fmt.Errorf("the removal of %s took time", name)
	}
	s.chapters[name].removed = before.UTC().Round(0)
	delete(s.chapters, name)
	return nil
}

// order has a job run now, if an agent has it and it is not ordered already.
func (s *soak) order(name string) error {
	runs, err := s.server.store.StartJob(context.Background(), name, crony.StartOptions{})
	switch crony.CodeOf(err) {
	case "":
		s.orders[runs[0]] = s.chapters[name].now().UID
		s.counts["orders"]++
		return nil
	case crony.Unavailable, crony.Conflict:
		return nil
	}
	return fmt.Errorf("order %s: %w", name, err)
}

// trouble is something that happens to the agent, to the server, or between them.
func (s *soak) trouble() error {
	switch s.rng.IntN(12) {
	case 0, 1, 2:
		s.counts["cuts"]++
		s.lose.Store(int32(s.rng.IntN(int(losses))))
		if s.lose.Load() == int32(loseNothing) {
			s.cut()
		}
	case 3:
		s.counts["isolations"]++
		s.isolate(true)
		s.cut()
		defer s.isolate(false)
		if err := s.during(12 * time.Hour); err != nil || s.rng.IntN(3) > 0 {
			return err
		}
		return s.restartAgent()
	case 4, 5, 6:
		return s.restartAgent()
	case 7, 8:
		return s.restartServer()
	case 9:
		s.counts["terms"]++
		s.server.retire()
		defer s.server.lead()
		return s.during(6 * time.Hour)
	default:
		s.counts["clock steps"]++
		s.setClock(pick(s.rng, 0, 0, time.Second, -time.Second, 20*time.Second, -20*time.Second, 50*time.Second, 10*time.Minute,
			-10*time.Minute, 2*time.Hour, -3*time.Hour))
	}
	return nil
}

// during lets up to most go by, and things happen to a few jobs meanwhile.
func (s *soak) during(most time.Duration) error {
	for range s.rng.IntN(4) {
		s.pass(time.Duration(s.rng.Int64N(int64(most / 4))))
		if s.server != nil {
			if err := s.change(); err != nil {
				return err
			}
		}
	}
	s.pass(time.Duration(s.rng.Int64N(int64(most / 4))))
	return nil
}

// change does something to a job.
func (s *soak) change() error {
	name := s.someone()
	c := s.chapters[name]
	switch {
	case c == nil || s.rng.IntN(2) == 0:
		return s.define(name, false)
	case s.rng.IntN(3) == 0:
		return s.remove(name)
	}
	return s.pause(name, !c.now().Job.Paused)
}

func (s *soak) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != nil {
		s.stream.cut()
	}
}

func (s *soak) isolate(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isolated = is
}

func (s *soak) setClock(step time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step = step
}

// restartAgent stops or kills the agent, and starts it again soon or after days.
func (s *soak) restartAgent() error {
	s.counts["agent restarts"]++
	end := s.host.life.retire
	if s.rng.IntN(2) == 0 {
		end = s.host.life.kill
	}
	if err := end(); err != nil {
		return fmt.Errorf("end the agent: %w", err)
	}
	if err := s.during(pick(s.rng, time.Second, time.Minute, time.Hour, 12*time.Hour, 72*time.Hour)); err != nil {
		return err
	}
	if err := s.host.begin(); err != nil {
		return err
	}
	return s.during(4 * time.Second)
}

func (s *soak) restartServer() error {
	s.counts["server restarts"]++
	if err := s.server.close(); err != nil {
		return fmt.Errorf("close the server: %w", err)
	}
	if err := s.during(pick(s.rng, time.Second, 30*time.Second, time.Minute, 30*time.Minute)); err != nil {
		return err
	}
	return s.serve()
}

// quiet says whether all is decided and delivered that was due up to a minute ago.
func (s *soak) quiet() bool {
	if len(s.runs.Unfinished(soakAgentID))+len(s.server.store.Passes())+s.host.life.journal.count() > 0 {
		return false
	}
	by := s.now().Add(-early)
	for name, c := range s.chapters {
		h, err := s.server.store.History(context.Background(), name)
		if err != nil {
			return false
		}
		if plan := c.now().Plan(); !c.now().Job.Paused {
			if at := plan.Next(h.Claim.At); !at.IsZero() && !plan.Start(at).After(by) {
				return false
			}
		}
	}
	return true
}
