// Package placement decides which agent has which job. It is the leader's work, and stands in the path of no run: an agent
// that has a job goes on with it, whether or not there is a leader.
//
// The one thing to know: [Decide] is a pure function from what there is to what must change, and a term ([Placement.Run]) does
// no more than call it for what may have to change, and write the result under the term. A job stays where it is unless there
// is a reason that can be told, and the reason is written into the assignment.
//
// Who is down is decided here as well (absence.go), and by the leader alone: an agent that is not connected for longer than
// the grace. Its jobs that may be moved are, at once; it gets none of them back when it returns. Only a person's request
// spreads jobs anew ([Rebalance]).
//
// It starts and ends no run. What was claimed under an assignment that has been moved is settled when the next agent takes the
// job over.
package placement

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crony"
	"crony/embedded/state"
)

// Options is what a Placement is made of.
type Options struct {
	Server     string                         // this server's id; required
	Store      *state.Store                   // required
	Unfinished func(agent string) []crony.Run // the runs of an agent that go on; required
	Grace      time.Duration                  // how long an agent may be gone before it is down; [DefaultGrace] if 0
	Stay       bool                           // shell jobs that don't say stay with an agent that is down
	Registerer prometheus.Registerer          // required
	Log        *slog.Logger                   // required
	Now        func() time.Time               // the clock; time.Now if nil
}

// Placement keeps every job placed while its server leads.
type Placement struct {
	opts    Options
	log     *slog.Logger
	metrics metrics
}

// New returns a Placement that does nothing yet.
func New(opts Options) (*Placement, error) {
	if opts.Server == "" || opts.Store == nil || opts.Unfinished == nil || opts.Registerer == nil || opts.Log == nil {
		return nil, errors.New("placement: an option is missing")
	}
	if opts.Grace == 0 {
		opts.Grace = DefaultGrace
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	p := &Placement{opts: opts, log: opts.Log.With("part", "placement")}
	return p, p.metrics.register(opts.Registerer)
}

// Run keeps every job placed until ctx, the scope of a leader's term, is done.
func (p *Placement) Run(ctx context.Context, number state.Term) error {
	defer p.metrics.stuck.Set(0)
	feed := p.opts.Store.Changes("")
	defer feed.Close()
	t := p.newTerm(number)
	timer := time.NewTimer(never)
	defer timer.Stop()
	for {
		select {
		case <-feed.Ready():
		case <-timer.C:
		case <-ctx.Done():
			return nil // the term is over; nothing went wrong
		}
		if err := t.round(ctx, feed.Take()); err != nil && ctx.Err() == nil {
			return err
		}
		timer.Reset(t.next.Sub(p.opts.Now()))
	}
}
