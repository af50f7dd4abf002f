package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"crony"
	"crony/internal/wire"
)

// soakLife is one life of the agent, as [Agent.Run] makes it, over a link without sockets and with processes that are no
// more than their facts.
type soakLife struct {
	soak    *soak
	journal *journal
	link    *link
	reports *reporter
	runner  *runner
	loop    *loop
	rng     *rand.Rand // the starter's

	starting, working context.Context //nolint:containedctx // they are the life's
	stop, end         context.CancelFunc
	killed            atomic.Bool
	looping, services sync.WaitGroup
}

// begin starts a life of the agent on its directory.
func (s *soak) begin() error {
	if err := os.MkdirAll(filepath.Join(s.dir, outputDir), 0o700); err != nil {
		return err
	}
	quiet := slog.New(s.log)
	j, err := openJournal(filepath.Join(s.dir, "journal"), quiet)
	if err != nil {
		return err
	}
	a := &soakLife{soak: s, journal: j, rng: rand.New(rand.NewPCG(s.seed, s.lives.Add(1)))}
	a.working, a.end = context.WithCancel(context.Background())
	a.starting, a.stop = context.WithCancel(a.working)
	a.link = newLink(nil, nil, soakAgentSelf(), j.runs, s.agentNow, quiet)
	a.reports = newReporter(j, a.link, s.agentNow, quiet)
	if a.runner, err = newRunner(soakAgentID, s.dir, j, a.reports, s.agentNow, quiet); err != nil {
		return errors.Join(err, j.close())
	}
	a.runner.lease = newLease(func() time.Duration { return s.now().Sub(bubbleBegan()) })
	a.loop = newLoop(a.link, a.runner, j, boots{}, s.agentNow, quiet)

	recovered := a.runner.recover()
	a.runner.starter.Go(a.startAll)
	a.services.Go(a.connect)
	a.services.Go(a.report)
	a.looping.Go(func() { a.loop.run(a.starting, recovered) })
	s.life = a
	return nil
}

// retire ends the life as [Agent.Run] does when it is told to stop; kill ends it without another word.
func (a *soakLife) retire() error {
	a.stop()
	a.looping.Wait()
	a.services.Go(func() { a.loop.ignore(a.working) })
	a.runner.drain(0)
	a.reports.flush(flushWait)
	return a.bury()
}

func (a *soakLife) kill() error {
	a.killed.Store(true)
	a.stop()
	a.end()
	a.looping.Wait()
	a.runner.drain(0)
	return a.bury()
}

func (a *soakLife) bury() error {
	a.end()
	a.services.Wait()
	a.soak.life = nil
	return a.journal.close()
}

// report is [reporter.run] without the look at outputs: there are none.
func (a *soakLife) report() {
	poll := time.NewTicker(time.Second)
	defer poll.Stop()
	for {
		select {
		case <-a.reports.wake:
		case <-poll.C:
		case <-a.working.Done():
			return
		}
		for a.reports.sendOne() {
		}
	}
}

// connect is [link.run] over the soak's streams.
func (a *soakLife) connect() {
	rng := rand.New(rand.NewPCG(a.soak.seed, 1<<32+a.soak.lives.Load()))
	for {
		if stream, served := a.soak.dial(a.working); served != nil {
			a.link.over(stream, a.loop.inbox, a.reports)
			stream.cut()
			<-served
		}
		if push(a.working, a.loop.inbox, &wire.FromServer{}) != nil {
			return
		}
		if sleep(a.working, firstWait+time.Duration(rng.Int64N(int64(lastWait)))) != nil {
			return
		}
	}
}

// startAll stands for the runner's starters: what they would start has started.
func (a *soakLife) startAll() {
	r := a.runner
	for {
		r.mu.Lock()
		for len(r.waiting) == 0 && !r.stopped {
			r.idle.Wait()
		}
		if r.stopped || a.killed.Load() {
			r.mu.Unlock()
			return
		}
		at := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.mu.Unlock()
		a.start(at)
	}
}

func (a *soakLife) start(at *attempt) {
	if !a.runner.mayStart(at) {
		a.runner.end(at.run, crony.Skipped, errLeaseOver.Error())
		return
	}
	a.soak.started(at)
	r := a.runner
	gone := birth{Boot: "another", Ticks: 1} // for the next life: it does not find the process
	r.keep(entry{Birth: &gone, Fact: &crony.Fact{Run: at.run, At: r.now().UTC(),
		Started: &crony.StartedFact{Attempt: 1, PID: 1 << 22}}})
	if a.rng.IntN(4) > 0 {
		a.finish(at, crony.Succeeded)
		return
	}
	takes := time.Duration(a.rng.Int64N(int64(time.Minute)))
	r.runs.Go(func() {
		state := crony.Failed
		if sleep(a.starting, takes) != nil {
			state = crony.Killed
		}
		if !a.killed.Load() {
			a.finish(at, state)
		}
	})
}

func (a *soakLife) finish(at *attempt, state crony.RunState) {
	code, r := 0, a.runner
	r.keep(entry{Fact: &crony.Fact{Run: at.run, At: r.now().UTC(), Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &code}}})
	r.end(at.run, state, "")
}
