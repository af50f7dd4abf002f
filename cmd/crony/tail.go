package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"crony"
)

// tail prints a run's output: what the run wrote to stdout on stdout and the rest on stderr, each byte once however often it
// arrives, and a word on stderr where bytes are missing.
type tail struct {
	stdout, stderr io.Writer
	only           crony.Stream // the other one is left out; "" prints both
	ends           map[place]int64

	screen      screen // of the terminal that stdout, stderr or both are
	shown, told bool   // stdout, and stderr, are a terminal
	mark        []byte // of what was written to stderr, if both are
}

// place is one stream of one attempt.
type place struct {
	attempt int
	stream  crony.Stream
}

func newTail(c *cli, only crony.Stream) *tail {
	t := &tail{
		stdout: c.stdout, stderr: c.stderr, only: only, ends: make(map[place]int64), shown: c.shown, told: c.watched,
	}
	if c.shown && c.watched && only == "" {
		t.mark = []byte("\x1b[0;31m!\x1b[0m ")
		if c.env("NO_COLOR") != "" { // https://no-color.org
			t.mark = []byte("! ")
		}
	}
	return t
}

// drain prints what output yields and reports whether any of it was new.
func (t *tail) drain(output iter.Seq2[crony.Chunk, error]) (news bool, err error) {
	for chunk, err := range output {
		if err != nil {
			return news, err
		}
		fresh, err := t.print(&chunk)
		if err != nil {
			return news, err
		}
		news = news || fresh
	}
	return news, nil
}

func (t *tail) print(chunk *crony.Chunk) (fresh bool, err error) {
	at := place{chunk.Attempt, chunk.Stream}
	end, data := t.ends[at], chunk.Data
	switch {
	case t.only != "" && t.only != chunk.Stream || chunk.End() <= end:
		return false, nil
	case chunk.Offset < end:
		data = data[end-chunk.Offset:]
	case chunk.Offset > end:
		t.missing(at, chunk.Offset-end)
	}
	t.ends[at] = chunk.End()
	if err := t.write(chunk.Stream, data); err != nil {
		return true, fmt.Errorf("write the output: %w", err)
	}
	return true, nil
}

func (t *tail) write(stream crony.Stream, data []byte) error {
	out, shown, mark := t.stdout, t.shown, []byte(nil)
	if stream == crony.Stderr {
		out, shown, mark = t.stderr, t.told, t.mark
	}
	if shown {
		data = t.screen.render(mark, string(stream), data)
	}
	_, err := out.Write(data)
	return err
}

func (t *tail) missing(at place, n int64) {
	t.rest()
	fmt.Fprintf(t.stderr, "crony: %d bytes of %s were not kept\n", n, at.stream)
}

// rest ends what stands open on the terminal.
func (t *tail) rest() {
	out := t.stdout
	if t.screen.from == string(crony.Stderr) {
		out = t.stderr
	}
	if end := t.screen.end(nil); len(end) > 0 {
		out.Write(end) //nolint:errcheck // what comes after it tells
	}
}

// finish says what is missing at the ends of the streams of a run that has ended.
func (t *tail) finish(run *crony.Run) {
	t.rest()
	for _, a := range run.Attempts {
		t.finishStream(place{a.Number, crony.Stdout}, a.StdoutBytes)
		t.finishStream(place{a.Number, crony.Stderr}, a.StderrBytes)
	}
}

func (t *tail) finishStream(at place, written int64) {
	if left := written - t.ends[at]; left > 0 && (t.only == "" || t.only == at.stream) {
		t.missing(at, left)
	}
}

// follow prints a run's output as it arrives until the run has ended, and returns the run. A server that goes away is given
// c.patience to come back; so is a run that is ordered and has not begun, if begins says that it will.
func (c *cli) follow(ctx context.Context, runs crony.Runs, id crony.RunID, t *tail, begins bool) (crony.Run, error) {
	for heard := c.now(); ; {
		news, err := t.drain(runs.Output(ctx, id, true))
		var run crony.Run
		if err == nil {
			run, err = runs.Run(ctx, id)
		}
		code := crony.CodeOf(err)
		passing := code == crony.Unavailable || code == crony.NotFound && begins
		switch {
		case err == nil && run.State.Ended():
			t.finish(&run)
			return run, nil
		case err != nil && !passing:
			return crony.Run{}, err
		case err == nil || news:
			heard = c.now()
		case c.now().Sub(heard) >= c.patience:
			return crony.Run{}, err
		}
		if err := pause(ctx, c.poll); err != nil {
			return crony.Run{}, err
		}
	}
}

// pause waits for d, or until ctx is done, which is an error.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
