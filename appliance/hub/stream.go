package hub

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

// stream is one agent's connection. Its goroutines: one receives, one decides claims, one stores reports, one tells of
// changes. A receiver that finds a queue full waits, and with it, through the transport's flow control, the agent.
type stream struct {
	hub      *Hub
	link     wire.Link_ConnectServer
	agent    crony.Agent
	log      *slog.Logger
	ctx      context.Context //nolint:containedctx // the stream is a request; this is its scope
	end      context.CancelCauseFunc
	done     chan struct{} // closed when nothing of the stream is left
	presence *state.Presence
	feed     *state.Feed

	sending sync.Mutex // the transport allows one sender

	held    map[string]int64     // job: the epoch that the agent was told of
	ordered map[crony.RunID]bool // orders that were sent on this stream
}

// queue is how many requests of one kind wait on the server's side.
const queue = 16

// begin registers the agent and settles what became of the runs that it no longer answers for.
func (s *stream) begin(runs []string) error {
	presence, err := s.hub.opts.State.RegisterAgent(s.ctx, s.agent)
	if err != nil {
		return err
	}
	s.presence = presence
	known := make(map[crony.RunID]bool, len(runs))
	for _, id := range runs {
		known[crony.RunID(id)] = true
	}
	var verdicts []crony.Fact
	for _, run := range s.hub.opts.Runs.Unfinished(s.agent.ID) {
		if !known[run.ID] {
			s.log.Warn("run lost", "run", run.ID, "job", run.Job)
			verdicts = append(verdicts, crony.Fact{Run: run.ID, Seq: crony.VerdictSeq, At: s.hub.opts.Now().UTC(),
				Ended: &crony.EndedFact{State: crony.Lost, Reason: "its agent came back and knows nothing of it"}})
		}
	}
	if err := s.hub.opts.Runs.Append(s.ctx, verdicts, nil); err != nil {
		return fmt.Errorf("declare runs lost: %w", err)
	}
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Welcome{Welcome: &wire.Welcome{
		Server: s.hub.opts.Server, MaxReportBytes: maxReport}}})
}

// serve runs the stream until it ends.
func (s *stream) serve() error {
	s.feed = s.hub.opts.State.Changes(s.agent.ID)
	defer s.feed.Close()
	claims, reports := make(chan *wire.ClaimRequest, queue), make(chan *wire.Report, queue)
	group, ctx := errgroup.WithContext(s.ctx)
	received := make(chan struct{})
	var why error // the receiver's end: it ends with the transport's stream, which ends when Connect returns
	go func() {
		defer close(received)
		why = s.receive(ctx, claims, reports)
	}()
	group.Go(func() error { return s.decide(ctx, claims) })
	group.Go(func() error { return s.store(ctx, reports) })
	group.Go(func() error { return s.tell(ctx) })
	group.Go(func() error {
		select {
		case <-received:
			return why
		case <-s.presence.Lost():
			return status.Error(codes.Unavailable, "the agent's lease ended")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	err := group.Wait()
	if s.link.Context().Err() != nil { // the others saw no more than that
		<-received
		return why
	}
	return err
}

func (s *stream) send(msg *wire.FromServer) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.link.Send(msg)
}

func (s *stream) receive(ctx context.Context, claims chan<- *wire.ClaimRequest, reports chan<- *wire.Report) error {
	for {
		msg, err := s.link.Recv()
		if err != nil {
			return err
		}
		switch kind := msg.GetKind().(type) {
		case *wire.FromAgent_Claims:
			err = push(ctx, claims, kind.Claims)
		case *wire.FromAgent_Report:
			err = push(ctx, reports, kind.Report)
		case *wire.FromAgent_Taken:
			err = s.taken(ctx, kind.Taken.GetJob(), crony.RunID(kind.Taken.GetRun()))
		default:
			err = status.Errorf(codes.InvalidArgument, "a message of kind %T was not expected", kind)
		}
		if err != nil {
			return err
		}
	}
}

func push[T any](ctx context.Context, queue chan<- T, item T) error {
	select {
	case queue <- item:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// decide answers claims, one request after the other.
func (s *stream) decide(ctx context.Context, requests <-chan *wire.ClaimRequest) error {
	for {
		select {
		case req := <-requests:
			if err := s.answer(ctx, req); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *stream) answer(ctx context.Context, req *wire.ClaimRequest) error {
	if n := len(req.GetOccurrences()); n > maxClaims {
		return status.Errorf(codes.InvalidArgument, "%d occurrences in a request; at most %d", n, maxClaims)
	}
	asks := make([]state.Ask, len(req.GetOccurrences()))
	for i, o := range req.GetOccurrences() {
		asks[i] = state.Ask{Job: o.GetJob(), Agent: s.agent.ID, Epoch: o.GetEpoch(), At: wire.Time(o.GetAt())}
		if p := o.GetPass(); p != nil {
			asks[i].After, asks[i].Reason = wire.Time(p.GetAfter()), bounded(p.GetReason())
		}
	}
	decisions, err := s.hub.opts.State.Claim(ctx, asks)
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	reply := &wire.ClaimReply{Id: req.GetId(), Decisions: make([]*wire.Decision, len(decisions))}
	for i, d := range decisions {
		reply.Decisions[i] = &wire.Decision{Granted: d.Granted, Run: string(d.Run), Reason: d.Reason, Cursor: wire.Nanos(d.Cursor)}
		s.hub.metrics.claim(d.Granted)
	}
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Claims{Claims: reply}})
}

// maxReason is how long the reason for passing over occurrences may be, in bytes.
const maxReason = 1 << 10

func bounded(reason string) string {
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
}

// taken forgets an order that the agent has taken.
func (s *stream) taken(ctx context.Context, job string, run crony.RunID) error {
	order, ok := s.hub.opts.State.Order(job)
	if !ok || order.Run != run {
		return nil
	}
	if order.Agent != s.agent.ID {
		return status.Errorf(codes.PermissionDenied, "the order to start %s is another agent's", job)
	}
	return s.hub.opts.State.TakeStart(ctx, job, run)
}

// tell sends what the agent has to run, first all of it and then each change.
func (s *stream) tell(ctx context.Context) error {
	for {
		changes, err := s.feed.Next(ctx)
		if err != nil {
			return err
		}
		names := changes.Jobs
		if changes.Reset {
			names = s.hub.opts.State.AssignedTo(s.agent.ID)
			for name := range s.held {
				names = append(names, name)
			}
		}
		for _, name := range names {
			if err := s.tellJob(ctx, name); err != nil {
				return err
			}
		}
		if changes.Reset {
			if err := s.send(&wire.FromServer{Kind: &wire.FromServer_Synced{Synced: &wire.Synced{}}}); err != nil {
				return err
			}
		}
	}
}

func (s *stream) tellJob(ctx context.Context, name string) error {
	job, has := s.hub.opts.State.Assigned(s.agent.ID, name)
	epoch, told := s.held[name]
	switch {
	case !has && told:
		delete(s.held, name)
		return s.send(&wire.FromServer{Kind: &wire.FromServer_Unassign{Unassign: &wire.Unassign{Job: name}}})
	case !has:
		return nil
	case !told || epoch != job.Assignment.Epoch:
		job, has, err := s.hub.opts.State.Settle(ctx, s.agent.ID, name)
		if err != nil || !has { // not any more: the change comes next
			return err
		}
		if err := s.assign(ctx, job); err != nil {
			return err
		}
		s.held[name] = job.Assignment.Epoch
	}
	return s.order(ctx, name)
}

func (s *stream) assign(ctx context.Context, job state.Assigned) error {
	owed, err := s.owed(ctx, job)
	if err != nil {
		return err
	}
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Assign{Assign: &wire.Assign{
		Definition: wire.Encode(job.Definition), Epoch: job.Assignment.Epoch,
		Cursor: wire.Nanos(job.Claim.At), Owed: string(owed), Since: wire.Nanos(job.Assignment.Since)}}})
}

// order sends the order to start a job now, if there is one for this agent that its run does not show to be taken.
func (s *stream) order(ctx context.Context, name string) error {
	order, ok := s.hub.opts.State.Order(name)
	if !ok || order.Agent != s.agent.ID || s.ordered[order.Run] {
		return nil
	}
	known, err := s.known(ctx, order.Run)
	if err != nil {
		return err
	}
	s.ordered[order.Run] = true
	if known {
		return s.hub.opts.State.TakeStart(ctx, name, order.Run)
	}
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Start{Start: &wire.Start{Request: wire.Encode(order)}}})
}

// owed returns the run of the job's last claim if this agent holds it and has not said a word of it: the agent's reply may
// have been lost, or the agent died with it.
func (s *stream) owed(ctx context.Context, job state.Assigned) (crony.RunID, error) {
	c := job.Claim
	if c.Run == "" || c.Agent != s.agent.ID || c.Epoch != job.Assignment.Epoch {
		return "", nil
	}
	known, err := s.known(ctx, c.Run)
	if known || err != nil {
		return "", err
	}
	return c.Run, nil
}

// known says whether the run log has the run. An error must not be taken for a no: the run would start twice.
func (s *stream) known(ctx context.Context, id crony.RunID) (bool, error) {
	_, err := s.hub.opts.Runs.Run(ctx, id)
	if crony.CodeOf(err) == crony.NotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up the run %s: %w", id, err)
	}
	return true, nil
}
