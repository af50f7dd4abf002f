package orders

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"

	"crony"
	"crony/embedded/state"
)

// HandleRun implements [crony.Runs]. That a result is handled is decided twice. A key in the store lets one at a time by, on
// whichever server. Whoever holds it looks, among most servers, whether it is on record already, and else puts it there; only
// then the key goes. So whoever comes later finds the key or the record, and whoever dies in between leaves the key, with
// which the next to ask, or the leader, goes on. The key is short-lived, and the record lasts as long as the run's.
func (o *Orders) HandleRun(ctx context.Context, id crony.RunID, opts crony.HandleOptions) (crony.Handled, error) {
	if _, err := crony.ParseRunID(string(id)); err != nil {
		return crony.Handled{}, err
	}
	if err := opts.Check(); err != nil {
		return crony.Handled{}, err
	}
	own := crony.HandledFact{By: crony.ActorFrom(ctx), Note: opts.Note, Request: cmp.Or(opts.Request, rand.Text())}
	run, err := o.findHandled(ctx, id)
	switch {
	case err != nil:
		return crony.Handled{}, err
	case run.Handled != nil:
		return answer(*run.Handled, &own)
	case !run.ToHandle:
		return crony.Handled{}, nothingToHandle(&run)
	}
	h, err := o.opts.State.DecideHandled(ctx, state.Handling{Run: id, At: o.opts.Now().UTC().Round(0), HandledFact: own})
	if err != nil {
		return crony.Handled{}, err
	}
	stands, err := settle(ctx, &o.opts, h)
	if err != nil {
		return crony.Handled{}, err
	}
	handled, err := answer(stands, &own)
	if err == nil {
		o.log.Info("result handled", "run", id, "job", run.Job, "by", handled.By, "note", handled.Note)
	}
	return handled, err
}

// answer says to who asked whether they have handled it.
func answer(stands crony.Handled, own *crony.HandledFact) (crony.Handled, error) {
	if stands.Request == own.Request && stands.By == own.By {
		return stands, nil
	}
	return stands, crony.Errorf(crony.Conflict, "the result is %s", stands.Words())
}

func nothingToHandle(run *crony.Run) error {
	hint := "`crony run show " + string(run.ID) + "` shows it"
	switch {
	case !run.State.Ended():
		return crony.Errorf(crony.Conflict, "the run has not ended: there is nothing to handle yet").WithHint("%s", hint)
	case run.Result == nil:
		return crony.Errorf(crony.Conflict, "the run has no result to handle").WithHint("%s", hint)
	}
	return crony.Errorf(crony.Conflict, "the run's job did not ask that its results be handled").
		WithHint("give the job `handle_results: true`; it counts for runs from then on")
}

// findHandled returns a run. Unless something is to be handled of it, or was, it is as most servers know it.
func (o *Orders) findHandled(ctx context.Context, id crony.RunID) (crony.Run, error) {
	run, err := o.opts.Runs.Run(ctx, id)
	if err != nil && crony.CodeOf(err) != crony.NotFound || run.ToHandle || run.Handled != nil {
		return run, err
	}
	refreshed := o.opts.Runs.Refresh(ctx, id)
	run, err = o.opts.Runs.Run(ctx, id)
	if refreshed != nil && !run.ToHandle && run.Handled == nil {
		return run, fmt.Errorf("ask the other servers for the run %s: %w", id, refreshed)
	}
	return run, err
}

// settle puts on record that a result is handled, unless that is there already, and returns how it stands. Whoever else does
// the same at the same time writes the same. After an error the key is there, and may be settled again.
func settle(ctx context.Context, o *Options, h state.Handling) (crony.Handled, error) {
	if err := o.Runs.Refresh(ctx, h.Run); err != nil {
		return crony.Handled{}, fmt.Errorf("ask the other servers whether the result of run %s is handled: %w", h.Run, err)
	}
	stands := h.Handled()
	run, err := o.Runs.Run(ctx, h.Run)
	switch code := crony.CodeOf(err); {
	case code == crony.NotFound, code == crony.Invalid: // it is kept no longer, or somebody wrote the key by hand
		if dropped := o.State.DropHandling(ctx, h); dropped != nil {
			return stands, dropped
		}
		return stands, err
	case err != nil:
		return stands, err
	case run.Handled != nil:
		stands = *run.Handled
	default:
		if err := o.Runs.Append(ctx, []crony.Fact{stands.Fact(h.Run)}, nil); err != nil {
			return stands, fmt.Errorf("put on record that the result of run %s is handled: %w", h.Run, err)
		}
	}
	if err := o.State.DropHandling(ctx, h); err != nil && o.Log != nil {
		o.Log.Warn("a key stays for now, of a result that is handled", "run", h.Run, "err", err)
	}
	return stands, nil
}
