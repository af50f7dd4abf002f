package webui

import (
	"bufio"
	"cmp"
	"context"
	"fmt"

	"crony"
	"crony/webui/api"
)

// ListRuns returns a page of runs.
func (r rest) ListRuns(ctx context.Context, req api.ListRunsRequestObject) (api.ListRunsResponseObject, error) {
	limit, err := pageLimit(req.Params.Limit)
	if err != nil {
		return nil, err
	}
	chosen := selectionOf(&req.Params)
	q, err := chosen.query()
	if err != nil {
		return nil, err
	}
	q.Count, q.Limit, q.Cursor = deref(req.Params.Count), limit, deref(req.Params.Cursor)
	page, err := r.opts.Runs.ListRuns(ctx, q)
	if err != nil {
		return nil, err
	}
	return api.ListRuns200JSONResponse{Items: append([]crony.Run{}, page.Items...), Next: page.Next, Count: page.Count}, nil
}

// GetRun returns one run.
func (r rest) GetRun(ctx context.Context, req api.GetRunRequestObject) (api.GetRunResponseObject, error) {
	run, err := r.run(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	return api.GetRun200JSONResponse(run), nil
}

func (r rest) run(ctx context.Context, id string) (crony.Run, error) {
	parsed, err := crony.ParseRunID(id)
	if err != nil {
		return crony.Run{}, err
	}
	return r.opts.Runs.Run(ctx, parsed)
}

// GetRunOutput streams a run's output. The run is looked up first, so that an unknown one is answered as everywhere else and
// not by an event.
func (r rest) GetRunOutput(ctx context.Context, req api.GetRunOutputRequestObject) (api.GetRunOutputResponseObject, error) {
	run, err := r.run(ctx, req.Id)
	if err != nil {
		return nil, err
	}
	has, err := parseDelivered(cmp.Or(deref(req.Params.LastEventID), deref(req.Params.After)))
	if err != nil {
		return nil, err
	}
	follow := deref(req.Params.Follow)
	return r.newStream(ctx, func(ctx context.Context, w *bufio.Writer) { r.streamOutput(ctx, w, run.ID, follow, has) }), nil
}

// piece is what the goroutine that reads the output hands to the one that writes: a chunk, or the end.
type piece struct {
	chunk crony.Chunk
	end   bool
	err   error
}

// streamOutput sends what the client does not have of a run's output.
func (r rest) streamOutput(ctx context.Context, w *bufio.Writer, id crony.RunID, follow bool, has delivered) {
	ctx, cancel := context.WithCancel(ctx)
	pieces := make(chan piece)
	go func() {
		defer close(pieces)
		r.readOutput(ctx, pieces, id, follow)
	}()
	defer func() {
		cancel()
		for range pieces { // until the reader is gone
		}
	}()
	err := pump(ctx, w, r.beat, pieces, func(p piece) error {
		switch {
		case p.err != nil:
			return p.err
		case p.end:
			return sendLast(w, "end", struct{}{})
		default:
			return sendChunk(w, p.chunk, has)
		}
	})
	if err != nil && !isGone(err) {
		problem := problemOf(err)
		if problem.Code == api.Internal {
			r.opts.Log.Error("output broken off", "run", id, "err", causeOf(err))
		}
		send(w, "problem", problem) //nolint:errcheck // the client is gone, or told
	}
}

func sendChunk(w *bufio.Writer, c crony.Chunk, has delivered) error {
	for _, part := range has.missing(c) {
		has.add(part)
		if id := has.String(); id != "" {
			fmt.Fprintf(w, "id: %s\n", id)
		}
		if err := send(w, "chunk", part); err != nil {
			return err
		}
	}
	return nil
}

func (r rest) readOutput(ctx context.Context, pieces chan<- piece, id crony.RunID, follow bool) {
	defer func() {
		if caught := recover(); caught != nil {
			hand(ctx, pieces, piece{err: fmt.Errorf("read output: panic: %v", caught)})
		}
	}()
	for chunk, err := range r.opts.Runs.Output(ctx, id, follow) {
		if err != nil {
			hand(ctx, pieces, piece{err: fmt.Errorf("read output: %w", err)})
			return
		}
		if !hand(ctx, pieces, piece{chunk: chunk}) {
			return
		}
	}
	hand(ctx, pieces, piece{end: true})
}

func hand(ctx context.Context, pieces chan<- piece, p piece) bool {
	select {
	case pieces <- p:
		return true
	case <-ctx.Done():
		return false
	}
}
