//go:build linux

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

// soakHost is a host with an agent.
type soakHost struct {
	id, dir string
	seed    uint64
	log     slog.Handler
	now     func() time.Time
	// boottime is the host's clock that nobody sets.
	boottime func() time.Duration
	// dial opens a stream to a server, that lasts as long as the context; nil if there is none to be reached.
	dial func(ctx context.Context) *dialled
	// works is what a process does: it returns how it ended. The context is done when it is killed.
	works func(ctx context.Context, a *attempt, rng *rand.Rand) crony.RunState
	// fuses makes the end of a life; nil: there is none but to be told.
	fuses func() *simFuse
	lives atomic.Uint64
	life  *soakLife // nil: the agent is down
}

// dialled is a stream that was opened.
type dialled struct {
	ctx    context.Context //nolint:containedctx // it is the stream's
	end    context.CancelFunc
	stream wire.Link_ConnectClient
	served <-chan struct{} // closed when the server is done with it; nil if that is not to be waited for
}

// soakLife is one life of the agent, as [Agent.Run] makes it, over a link without sockets and with processes that are no
// more than their facts.
type soakLife struct {
	host    *soakHost
	journal *journal
	link    *link
	reports *reporter
	runner  *runner
	loop    *loop
	rng     *rand.Rand // the starter's

	starting, working context.Context //nolint:containedctx // they are the life's
	stop, end         context.CancelFunc
	killed            atomic.Bool
	fuse              *simFuse // nil: it is killed at rest only
	looping, services sync.WaitGroup
}

// begin starts a life of the agent on its directory.
func (h *soakHost) begin() error {
	if err := os.MkdirAll(filepath.Join(h.dir, outputDir), 0o700); err != nil {
		return err
	}
	quiet := slog.New(h.log)
	j, err := openJournal(filepath.Join(h.dir, "journal"), quiet)
	if err != nil {
		return err
	}
	a := &soakLife{host: h, journal: j, rng: rand.New(rand.NewPCG(h.seed, h.lives.Add(1)))}
	if h.fuses != nil {
		a.fuse = h.fuses()
		j.file = &simFile{j.file, a.fuse, rand.New(rand.NewPCG(h.seed, 2<<32+h.lives.Load()))}
	}
	a.working, a.end = context.WithCancel(context.Background())
	a.starting, a.stop = context.WithCancel(a.working)
	self := crony.Agent{Name: h.id, Hostname: h.id, Weight: 1}
	a.link = newLink(nil, nil, self, j.runs, h.now, quiet)
	a.reports = newReporter(j, a.link, h.now, quiet)
	a.reports.chance = func(time.Duration) time.Duration { return 0 }
	if a.runner, err = newRunner(h.id, h.dir, j, a.reports, h.now, quiet); err != nil {
		return errors.Join(err, j.close())
	}
	a.runner.lease, a.runner.chance = newLease(h.boottime), func(below time.Duration) time.Duration { return below / 2 }
	a.loop = newLoop(a.link, a.runner, j, boots{}, h.now, quiet)

	recovered := a.runner.recover()
	a.runner.starter.Go(a.startAll)
	a.services.Go(a.connect)
	a.services.Go(a.report)
	a.looping.Go(func() { a.loop.run(a.starting, recovered) })
	h.life = a
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
	a.fuse.blow()
	a.stop()
	a.end()
	a.looping.Wait()
	a.runner.drain(0)
	return a.bury()
}

func (a *soakLife) bury() error {
	a.end()
	a.services.Wait()
	a.host.life = nil
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

// connect is [link.run] over streams without sockets.
func (a *soakLife) connect() {
	rng := rand.New(rand.NewPCG(a.host.seed, 1<<32+a.host.lives.Load()))
	for {
		if d := a.host.dial(a.working); d != nil {
			a.link.over(d.ctx, d.stream, d.end, a.loop.inbox, a.reports)
			d.end()
			if d.served != nil {
				<-d.served
			}
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
		a.runner.endLeaseless(at)
		return
	}
	r := a.runner
	gone := birth{Boot: "another", Ticks: 1} // for the next life: it does not find the process
	r.keep(entry{Birth: &gone, Fact: &crony.Fact{Run: at.run, At: r.now().UTC(),
		Started: &crony.StartedFact{Attempt: at.number, PID: 1 << 22}}})
	rng := rand.New(rand.NewPCG(a.rng.Uint64(), 0))
	r.runs.Go(func() {
		if !a.fuse.step() {
			return
		}
		if state := a.host.works(a.starting, at, rng); !a.killed.Load() {
			a.finish(at, state)
		}
	})
}

func (a *soakLife) finish(at *attempt, state crony.RunState) {
	code, r := 0, a.runner
	r.keep(entry{Fact: &crony.Fact{Run: at.run, At: r.now().UTC(), Exited: &crony.ExitedFact{Attempt: at.number, ExitCode: &code}}})
	r.attempted(at.run, at.number, state, "")
}
