// Package callbacks takes in what services tell of runs whose agents have called them: how far they are, what they log, and
// how it has ended. Any server takes it, whoever holds the agent's stream.
//
// The one thing to know: a report is stored on the disks of most servers, then its result is written down for the run's agent,
// and only then is it acknowledged. Each step can be done again with no effect, so a server may die between any two of them:
// the service, which has no answer, tells the same again, to any other.
//
// Who tells proves by the token of the call that this very attempt has called it; the run log has the token's hash. What comes
// when the run has ended is on record all the same, and changes nothing about its end.
package callbacks

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"crony"
)

// State is what the keyspace says of runs. It is safe for concurrent use.
type State interface {
	// AnswerRun stores how a run of an agent ends. The first answer to an attempt counts: another changes nothing.
	AnswerRun(ctx context.Context, agent, job string, run crony.RunID, answer crony.Answer) error
	// Kill returns the order to end a run of an agent, and whether there is one.
	Kill(agent string, run crony.RunID) (crony.KillOrder, bool)
	// Job returns one job; NotFound if there is none.
	Job(ctx context.Context, name string) (crony.JobStatus, error)
}

// RunLog is what is known of runs. It is safe for concurrent use.
type RunLog interface {
	// Facts returns what this server knows of a run; NotFound if it knows of none.
	Facts(ctx context.Context, id crony.RunID) ([]crony.Fact, error)
	// Refresh brings what other servers know of runs. An error says that too few of them answer: what is not known here may
	// not be taken for what is not.
	Refresh(ctx context.Context, runs ...crony.RunID) error
	// Append stores facts and pieces of output, and returns once they are on the disks of most servers. What is stored already
	// changes nothing.
	Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error
}

// Options is what Callbacks are made of; all but Now are required.
type Options struct {
	State State
	Runs  RunLog
	Log   *slog.Logger
	Now   func() time.Time // the wall clock; time.Now if nil
}

// Callbacks takes reports. It is safe for concurrent use.
type Callbacks struct {
	opts Options
	log  *slog.Logger
}

// New returns Callbacks.
func New(opts Options) (*Callbacks, error) {
	if opts.State == nil || opts.Runs == nil || opts.Log == nil {
		return nil, errors.New("callbacks: an option is missing")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Callbacks{opts: opts, log: opts.Log.With("part", "callbacks")}, nil
}

// Take stores a report of a run, and returns what its sender is to know. Unauthorized if the token is not that of the attempt;
// NotFound if nobody knows of the attempt, as its agent may not have been able to tell of it yet; Invalid with each fault of
// the report; Unavailable if too few servers can be reached. After an error the report may be stored or not: it is to be told
// again.
func (c *Callbacks) Take(
	ctx context.Context, id crony.RunID, token string, report crony.CalleeReport,
) (crony.CalleeAnswer, error) {
	known, err := c.find(ctx, id, report.Attempt)
	if err != nil {
		return crony.CalleeAnswer{}, err
	}
	if !known.opens(token) {
		return crony.CalleeAnswer{}, crony.Errorf(crony.Unauthorized, "this is not the token of the call").
			WithHint("send the call's own Crony-Token, as Authorization: Bearer TOKEN")
	}
	if err := report.Check(); err != nil {
		return crony.CalleeAnswer{}, err
	}
	facts, chunks := c.records(ctx, known, &report)
	err = c.opts.Runs.Append(ctx, facts, chunks)
	switch crony.CodeOf(err) {
	case "":
	case crony.Conflict: // all else is stored: the service numbers two things alike, or has begun anew
		c.log.Info("report of a called service differs from what it has told before", "run", id, "err", err)
	default:
		return crony.CalleeAnswer{}, fmt.Errorf("store what is told of the run %s: %w", id, err)
	}
	if err := c.answer(ctx, known, &report); err != nil {
		return crony.CalleeAnswer{}, err
	}
	return crony.CalleeAnswer{Stop: c.stop(known)}, nil
}

// call is an attempt that somebody tells of, and its run as it is known here.
type call struct {
	run     crony.Run
	facts   []crony.Fact
	attempt int
	started *crony.Fact // nil if it is not known
}

// opens says whether a token is that of the call. One that is wrong takes as long as any other, also if there is none.
func (k *call) opens(token string) bool {
	hash := sha256.Sum256([]byte(token))
	want := k.started.Started.Callback
	none := 0
	if len(want) != hex.EncodedLen(len(hash)) {
		want, none = hex.EncodeToString(make([]byte, len(hash))), 1
	}
	return subtle.ConstantTimeCompare([]byte(hex.EncodeToString(hash[:])), []byte(want))&^none == 1
}

// last says whether the run has made no later attempt.
func (k *call) last() bool {
	return k.attempt == k.run.Attempts[len(k.run.Attempts)-1].Number
}

// find returns the call that an attempt of a run has made. The other servers are asked if it is not known here.
func (c *Callbacks) find(ctx context.Context, id crony.RunID, attempt int) (*call, error) {
	known, err := c.look(ctx, id, attempt)
	if err != nil || known.started != nil {
		return known, err
	}
	if err := c.opts.Runs.Refresh(ctx, id); err != nil {
		return nil, fmt.Errorf("ask the other servers for the run %s: %w", id, err)
	}
	if known, err = c.look(ctx, id, attempt); err != nil || known.started != nil {
		return known, err
	}
	return nil, crony.Errorf(crony.NotFound, "there is no attempt %d of a run %s", attempt, id).
		WithHint("its agent may not have been able to tell of it yet: try again for as long as the call's deadline allows")
}

func (c *Callbacks) look(ctx context.Context, id crony.RunID, attempt int) (*call, error) {
	facts, err := c.opts.Runs.Facts(ctx, id)
	if err != nil && crony.CodeOf(err) != crony.NotFound {
		return nil, fmt.Errorf("look up the run %s: %w", id, err)
	}
	k := &call{facts: facts, attempt: attempt}
	run, _ := crony.Fold(facts)
	k.run = run
	for i := range facts {
		if s := facts[i].Started; s != nil && s.Attempt == attempt {
			k.started = &facts[i]
		}
	}
	return k, nil
}

// answer writes down how the run ends, if the report has a result and the run waits for it. The first result of a report counts.
func (c *Callbacks) answer(ctx context.Context, k *call, report *crony.CalleeReport) error {
	now := c.opts.Now().UTC()
	for i := range report.Events {
		r := report.Events[i].Result
		if r == nil {
			continue
		}
		if k.run.State.Ended() || !k.last() || k.late(now) {
			c.log.Info("result comes too late", "run", k.run.ID, "attempt", k.attempt, "state", k.run.State)
			return nil
		}
		err := c.opts.State.AnswerRun(ctx, k.run.Agent, k.run.Job, k.run.ID,
			crony.Answer{Attempt: k.attempt, State: r.State, Reason: r.Reason, At: now})
		if err != nil {
			return fmt.Errorf("answer the run %s: %w", k.run.ID, err)
		}
		return nil
	}
	return nil
}

// late says whether the run does not wait for an answer any longer.
func (k *call) late(now time.Time) bool { return k.run.Called() && now.After(k.run.Until) }

// stop says why the service is to give up; "" if it is not.
func (c *Callbacks) stop(k *call) string {
	kill, killed := c.opts.State.Kill(k.run.Agent, k.run.ID)
	switch {
	case k.run.State.Ended():
		return fmt.Sprintf("the run has ended: %s", k.run.State)
	case killed:
		return kill.Words()
	case !k.last():
		return fmt.Sprintf("attempt %d of the run is over", k.attempt)
	case k.late(c.opts.Now()):
		return "the run's time is up"
	}
	return ""
}
