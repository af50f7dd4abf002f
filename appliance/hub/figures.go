package hub

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/state"
	"crony/internal/wire"
)

const (
	maxFigures  = 8 << 10                 // bytes that an agent may say of its host at once
	figuresPace = 1500 * time.Millisecond // what comes sooner is left out: each is a write
)

// tellWatched says to the agent whether somebody looks at its host, if that is not what it was told.
func (s *stream) tellWatched(changes state.Changes) error {
	if !changes.Host && !changes.Reset {
		return nil
	}
	on := s.hub.opts.State.Watched(s.agent.ID)
	if on == s.watched {
		return nil
	}
	s.watched = on
	return s.send(&wire.FromServer{Kind: &wire.FromServer_Watched{Watched: &wire.Watched{On: on}}})
}

// show shows what the agent says of its host to those who look. What can't be shown is not missed: the next comes soon.
func (s *stream) show(ctx context.Context, msg *wire.Figures) error {
	if n := len(msg.GetFigures()); n > maxFigures {
		return status.Errorf(codes.InvalidArgument, "the agent says %d bytes of its host; at most %d", n, maxFigures)
	}
	figures, err := wire.Decode[crony.HostFigures](msg.GetFigures())
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	now := time.Now()
	if now.Sub(s.figured) < figuresPace {
		return nil
	}
	s.figured = now
	if err := s.hub.opts.State.PublishFigures(ctx, s.agent.ID, figures); err != nil {
		s.log.Debug("figures of a host not shown", "err", err)
	}
	return nil
}
