package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"

	"crony"
)

// Run implements [crony.Runs].
func (c *Client) Run(ctx context.Context, id crony.RunID) (crony.Run, error) {
	path, err := item("run", "/runs/", string(id))
	if err != nil {
		return crony.Run{}, err
	}
	var run crony.Run
	if err := c.do(ctx, call{method: http.MethodGet, path: path}, &run); err != nil {
		return crony.Run{}, err
	}
	return run, nil
}

// ListRuns implements [crony.Runs].
func (c *Client) ListRuns(ctx context.Context, q crony.RunQuery) (crony.RunPage, error) {
	query := page(q.Limit, q.Cursor)
	setRuns(query, &q)
	if q.Count {
		query.Set("count", "true")
	}
	var runs crony.RunPage
	if err := c.do(ctx, call{method: http.MethodGet, path: "/runs", query: query}, &runs); err != nil {
		return crony.RunPage{}, err
	}
	return runs, nil
}

// setRuns says which runs a call is about.
func setRuns(query url.Values, q *crony.RunQuery) {
	set(query, "job", q.Job)
	set(query, "agent", q.Agent)
	set(query, "state", string(q.State))
	set(query, "group", q.Group)
	set(query, "trigger", string(q.Trigger))
	for _, key := range slices.Sorted(maps.Keys(q.Labels)) {
		query.Add("label", key+"="+q.Labels[key])
	}
	setTime(query, "from", q.From)
	setTime(query, "to", q.To)
	setDuration(query, "longer", q.Longer)
	setDuration(query, "shorter", q.Shorter)
	if q.ToHandle {
		query.Set("to_handle", "true")
	}
}

func setDuration(query url.Values, key string, d time.Duration) {
	if d != 0 {
		query.Set(key, d.String())
	}
}

// Output implements [crony.Runs]. A stream that breaks off before the server has said that it is complete ends with an
// error of code Unavailable; ctx ending ends it with an error that wraps the cause.
func (c *Client) Output(ctx context.Context, id crony.RunID, follow bool) iter.Seq2[crony.Chunk, error] {
	return func(yield func(crony.Chunk, error) bool) {
		resp, err := c.openOutput(ctx, id, follow)
		if err != nil {
			yield(crony.Chunk{}, err)
			return
		}
		defer resp.Body.Close()
		events := newEventReader(resp.Body)
		for {
			chunk, err := c.nextChunk(ctx, events)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(chunk, err) || err != nil {
				return
			}
		}
	}
}

func (c *Client) openOutput(ctx context.Context, id crony.RunID, follow bool) (*http.Response, error) {
	path, err := item("run", "/runs/", string(id))
	if err != nil {
		return nil, err
	}
	k := call{method: http.MethodGet, path: path + "/output", accept: "text/event-stream"}
	if follow {
		k.query = url.Values{"follow": {"true"}}
	}
	return c.send(ctx, k)
}

// nextChunk reads on to the next chunk; io.EOF after the last one, and only if the server said that it was.
func (c *Client) nextChunk(ctx context.Context, events *eventReader) (crony.Chunk, error) {
	for {
		e, err := events.next()
		if err != nil {
			return crony.Chunk{}, c.broken(ctx, err)
		}
		switch e.name {
		case "chunk":
			var chunk crony.Chunk
			if err := json.Unmarshal(e.data, &chunk); err != nil {
				return crony.Chunk{}, c.stranger(ctx, fmt.Sprintf("a piece of output that is not readable: %v", err))
			}
			return chunk, nil
		case "end":
			return crony.Chunk{}, io.EOF
		case "problem":
			var p problem
			if err := json.Unmarshal(e.data, &p); err != nil || p.Code == "" || p.Detail == "" {
				return crony.Chunk{}, c.stranger(ctx, "a problem that is not readable")
			}
			return crony.Chunk{}, p.err()
		}
	}
}
