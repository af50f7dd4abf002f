package webui

import (
	"bufio"
	"context"

	"crony"
	"crony/webui/api"
)

// Events tells what changes.
type Events interface {
	// Subscribe returns a channel on which every change from now on arrives, until ctx is done; then it is closed. The source
	// never waits for who reads: changes that a subscriber is too slow for are left out, and one Event with Reset says so
	// before the next.
	Subscribe(ctx context.Context) <-chan Event
}

// Event is one change; exactly one field is set.
type Event struct {
	Run   *crony.Run // as it stands now
	Job   string     // the name of a job that was defined, changed, placed or removed
	Agent string     // the id of an agent that came or went
	Reset bool       // changes were left out
}

// StreamEvents streams what changes. A stream is one subscription.
func (r rest) StreamEvents(ctx context.Context, _ api.StreamEventsRequestObject) (api.StreamEventsResponseObject, error) {
	return r.newStream(ctx, func(ctx context.Context, w *bufio.Writer) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		err := pump(ctx, w, r.beat, r.opts.Events.Subscribe(ctx), func(e Event) error { return sendEvent(w, e) })
		if err != nil && !isGone(err) {
			r.opts.Log.Debug("event stream broken off", "err", err)
		}
	}), nil
}

func sendEvent(w *bufio.Writer, e Event) error {
	switch {
	case e.Run != nil:
		return send(w, "run", e.Run)
	case e.Job != "":
		return send(w, "job", struct {
			Name string `json:"name"`
		}{e.Job})
	case e.Agent != "":
		return send(w, "agent", struct {
			ID string `json:"id"`
		}{e.Agent})
	default:
		return send(w, "reset", struct{}{})
	}
}
