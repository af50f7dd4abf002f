package hub

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// stream is one agent's connection. One goroutine receives, one waits for what the agent is to be told; claims, reports and
// what is sent have their lanes. The waiting one never sends by itself, so that a stream ends when it is to end, also if the
// agent does not read.
type stream struct {
	hub      *Hub
	link     wire.Link_ConnectServer
	agent    crony.Agent
	log      *slog.Logger
	ctx      context.Context //nolint:containedctx // the stream is a request; this is its scope
	end      context.CancelCauseFunc
	work     sync.WaitGroup // the receiver, and who works in the lanes
	done     chan struct{}  // closed when nothing of the stream is left
	presence *state.Presence
	onRecord atomic.Bool // that the agent is connected here was on record
	feed     *state.Feed

	claims  lane[*wire.ClaimRequest]
	reports lane[*wire.Report]
	locks   lane[*wire.Lock]
	alone   lane[*wire.Alone]
	running lane[*wire.Running]
	moving  lane[*wire.HandOver]
	out     lane[*wire.FromServer]
	figures lane[*wire.Figures]
	moves   chan string // servers that the agent is to go to

	news    *bulletin        // that the agent was told
	held    map[string]int64 // job: the epoch that the agent was told of
	ordered orders
	answers map[crony.RunID]bool // runs that the agent answered for when it connected
	renewed time.Time            // when a certificate was asked for
	watched bool                 // the agent was told that somebody looks at its host
	figured time.Time            // when figures were shown
}

func newStream(h *Hub, link wire.Link_ConnectServer, agent crony.Agent, log *slog.Logger) *stream {
	s := &stream{hub: h, link: link, agent: agent, log: log, done: make(chan struct{}), moves: make(chan string, 1),
		news: &bulletin{}, held: map[string]int64{}, ordered: newOrders(), answers: map[crony.RunID]bool{}}
	s.ctx, s.end = context.WithCancelCause(link.Context())
	s.claims = lane[*wire.ClaimRequest]{stream: s, do: (*stream).answer}
	s.reports = lane[*wire.Report]{stream: s, do: (*stream).store}
	s.locks = lane[*wire.Lock]{stream: s, do: (*stream).lock}
	s.alone = lane[*wire.Alone]{stream: s, do: (*stream).judge}
	s.running = lane[*wire.Running]{stream: s, do: (*stream).note}
	s.moving = lane[*wire.HandOver]{stream: s, do: (*stream).handOver}
	s.out = lane[*wire.FromServer]{stream: s, do: (*stream).write}
	s.figures = lane[*wire.Figures]{stream: s, do: (*stream).show}
	return s
}

// begin registers the agent, settles what became of the runs that it no longer answers for, and welcomes it.
func (s *stream) begin(runs []string) error {
	presence, err := s.hub.opts.State.RegisterAgent(s.ctx, s.agent)
	if err != nil {
		return err
	}
	s.presence = presence
	s.onRecord.Store(true)
	if err := s.giveUp(runs); err != nil {
		return err
	}
	s.abandon(runs)
	if err := s.send(&wire.FromServer{Kind: &wire.FromServer_Welcome{Welcome: &wire.Welcome{
		Server: s.hub.opts.Server, MaxReportBytes: maxReport}}}); err != nil {
		return err
	}
	return s.tellNews()
}

// giveUp ends the runs that the agent does not answer for any more, as lost. This server's log may lack their ends, so others
// are asked; if too few of them answer, nothing is judged until the agent connects again. What waits and may still be answered
// is left to the leader, which ends it in its time.
func (s *stream) giveUp(answered []string) error {
	for _, id := range answered {
		s.answers[crony.RunID(id)] = true
	}
	silent := map[crony.RunID]bool{}
	for _, run := range s.hub.opts.Runs.Unfinished(s.agent.ID) {
		if !s.answers[run.ID] {
			silent[run.ID] = true
		}
	}
	if len(silent) == 0 {
		return nil
	}
	if err := s.hub.opts.Runs.Refresh(s.ctx, slices.Collect(maps.Keys(silent))...); err != nil {
		s.log.Warn("runs that the agent is silent of are not lost yet: other servers may know how they ended",
			"runs", len(silent), "err", err)
		return context.Cause(s.ctx)
	}
	// A run may have moved to the agent a moment ago, and the run log be ahead of what this server sees of that.
	if err := s.hub.opts.State.Sync(s.ctx); err != nil {
		return err
	}
	var verdicts []crony.Fact
	var losses []state.Loss
	for _, run := range s.hub.opts.Runs.Unfinished(s.agent.ID) {
		if !silent[run.ID] {
			continue
		}
		verdict, due := s.hub.opts.State.Verdict(&run, "its agent came back and knows nothing of it", s.hub.opts.Now())
		if !due {
			continue
		}
		s.log.Warn("run ended without its agent", "run", run.ID, "job", run.Job, "state", verdict.Ended.State)
		verdicts = append(verdicts, verdict)
		if loss, ok := state.LossOf(&run); ok && verdict.Ended.State == crony.Lost {
			losses = append(losses, loss)
		}
	}
	if err := s.rerun(s.ctx, losses); err != nil {
		return err
	}
	switch err := s.hub.opts.Runs.Append(s.ctx, verdicts, nil); {
	case crony.CodeOf(err) == crony.Unavailable && s.ctx.Err() == nil: // a full disk, say, which is no reason to run nothing
		s.log.Warn("runs can't be declared lost yet", "runs", len(verdicts), "err", err)
	case err != nil:
		return fmt.Errorf("declare runs lost: %w", err)
	}
	return nil
}

// serve runs the stream until it ends, and says why it did.
func (s *stream) serve() error {
	s.feed = s.hub.opts.State.Changes(s.agent.ID)
	defer s.feed.Close()
	received := make(chan struct{})
	var why error // the receiver's end: it ends with the transport's stream, which ends when Connect returns
	s.work.Go(func() {
		defer close(received)
		why = s.receive(s.ctx)
		s.end(why)
	})
	err := s.tell(s.ctx)
	s.close(err)
	if s.link.Context().Err() != nil { // the others saw no more than that
		<-received
		return why
	}
	return context.Cause(s.ctx)
}

// close ends the stream, and has what is left of it taken away.
func (s *stream) close(why error) {
	s.end(why)
	go s.hub.leave(s)
}

// send brings a message to the agent's lane.
func (s *stream) send(msg *wire.FromServer) error { return s.out.push(s.ctx, msg) }

func (s *stream) write(_ context.Context, msg *wire.FromServer) error { return s.link.Send(msg) }

// move asks the agent to go to a server, any other if none is named. It does not wait.
func (s *stream) move(to string) {
	select {
	case s.moves <- to:
	default: // it has been asked already
	}
}

func (s *stream) receive(ctx context.Context) error {
	for {
		msg, err := s.link.Recv()
		if err != nil {
			return err
		}
		switch kind := msg.GetKind().(type) {
		case *wire.FromAgent_Claims:
			err = s.claims.push(ctx, kind.Claims)
		case *wire.FromAgent_Report:
			err = s.reports.push(ctx, kind.Report)
		case *wire.FromAgent_Lock:
			err = s.locks.push(ctx, kind.Lock)
		case *wire.FromAgent_Alone:
			err = s.alone.push(ctx, kind.Alone)
		case *wire.FromAgent_Taken:
			err = s.took(ctx, kind.Taken)
		case *wire.FromAgent_HandOver:
			err = s.moving.push(ctx, kind.HandOver)
		case *wire.FromAgent_Running:
			err = s.running.push(ctx, kind.Running)
		case *wire.FromAgent_Renew:
			err = s.renew(ctx, kind.Renew.GetRequest())
		case *wire.FromAgent_Figures:
			err = s.figures.push(ctx, kind.Figures)
		default:
			err = status.Errorf(codes.InvalidArgument, "a message of kind %T was not expected", kind)
		}
		if err != nil {
			return err
		}
	}
}

// answer decides a request's claims.
func (s *stream) answer(ctx context.Context, req *wire.ClaimRequest) error {
	if n := len(req.GetOccurrences()); n > maxClaims {
		return status.Errorf(codes.InvalidArgument, "%d occurrences in a request; at most %d", n, maxClaims)
	}
	asks := make([]state.Ask, len(req.GetOccurrences()))
	for i, o := range req.GetOccurrences() {
		asks[i] = state.Ask{Job: o.GetJob(), Agent: s.agent.ID, Epoch: o.GetEpoch(), At: wire.Time(o.GetAt()), Due: o.GetDue(),
			Behind: crony.RunID(o.GetBehind())}
		if p := o.GetPass(); p != nil {
			asks[i].After, asks[i].Reason, asks[i].Ran = wire.Time(p.GetAfter()), bounded(p.GetReason()), o.GetRan()
			if asks[i].Skipped = o.GetSkipped(); p.GetUntil() != 0 {
				asks[i].Until = wire.Time(p.GetUntil())
			}
		}
	}
	decisions, err := s.hub.opts.State.Claim(ctx, asks)
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	reply := &wire.ClaimReply{Id: req.GetId(), Decisions: make([]*wire.Decision, len(decisions))}
	for i, d := range decisions { // a refusal is nothing to log: agents that race are refused all the time
		reply.Decisions[i] = &wire.Decision{Granted: d.Granted, Run: string(d.Run), Reason: d.Reason, Cursor: wire.Nanos(d.Cursor),
			Busy: string(d.Busy)}
		s.hub.metrics.claim(d.Granted)
	}
	for i, d := range decisions {
		if !d.Granted && d.Busy == "" && !asks[i].After.IsZero() {
			if err := s.remind(ctx, asks[i].Job, d.Cursor); err != nil {
				return err
			}
		}
	}
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Claims{Claims: reply}})
}

// remind tells the agent of its own claim, if it is that which is in the way of what it wants to pass over: it was asked for
// on a stream of before, and granted late, by a server that stood still for a while.
func (s *stream) remind(ctx context.Context, name string, cursor time.Time) error {
	job, has := s.hub.opts.State.Assigned(s.agent.ID, name)
	if !has || !job.Claim.At.Equal(cursor) {
		return nil
	}
	owed, err := s.owed(ctx, job)
	if err != nil || owed == "" {
		return err
	}
	return s.assign(ctx, job)
}

// maxReason is how long the reason for passing over occurrences may be, in bytes.
const maxReason = 1 << 10

func bounded(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
}
