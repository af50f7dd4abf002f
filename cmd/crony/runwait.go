package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"crony"
	"crony/sdk"
)

// prefixed writes the lines of one run among those of others, each with a prefix, and whole.
type prefixed struct {
	out    io.Writer
	turn   *sync.Mutex // of all that write to out
	prefix string
	line   []byte // that has not ended yet
}

// maxLine is how much of a line waits for its end, in bytes.
const maxLine = 64 << 10

// Write implements [io.Writer].
func (p *prefixed) Write(data []byte) (int, error) {
	n := len(data)
	for len(data) > 0 {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			p.line = append(p.line, data...)
			if len(p.line) < maxLine {
				return n, nil
			}
			return n, p.flush()
		}
		p.line = append(p.line, data[:end]...)
		data = data[end+1:]
		if err := p.emit(); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// flush writes what stands of a line that has no end.
func (p *prefixed) flush() error {
	if len(p.line) == 0 {
		return nil
	}
	return p.emit()
}

func (p *prefixed) emit() error {
	p.turn.Lock()
	defer p.turn.Unlock()
	_, err := fmt.Fprintf(p.out, "%s%s\n", p.prefix, p.line)
	p.line = p.line[:0]
	return err
}

// waitForRuns prints the output of several runs as it arrives, and returns the highest of their exit codes.
func (c *cli) waitForRuns(ctx context.Context, client *sdk.Client, ids []crony.RunID) error {
	agents, err := c.agentNames(ctx, client)
	if err != nil {
		return err
	}
	var turn sync.Mutex
	var work sync.WaitGroup
	codes := make([]int, len(ids))
	for i, id := range ids {
		fmt.Fprintf(c.stderr, "crony: run %s\n", id)
		work.Go(func() {
			out, told := &prefixed{out: c.stdout, turn: &turn}, &prefixed{out: c.stderr, turn: &turn}
			codes[i] = c.waitAmongOthers(ctx, client, id, agents, out, told)
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		fmt.Fprintln(c.stderr, "crony: the runs go on; `crony run logs -f` prints their output")
		return context.Cause(ctx)
	}
	worst := 0
	for _, code := range codes {
		worst = max(worst, code)
	}
	if worst == 0 {
		return nil
	}
	return jobExit(worst)
}

// waitAmongOthers prints one run's output, and returns the exit code that stands for how it ended.
func (c *cli) waitAmongOthers(
	ctx context.Context, client *sdk.Client, id crony.RunID, agents agentNames, out, told *prefixed,
) int {
	run, err := c.begun(ctx, client, id)
	name := string(id)
	if err == nil {
		name = agents.name(run.Agent)
	}
	out.prefix, told.prefix = name+" | ", name+" | "
	if err == nil {
		run, err = c.follow(ctx, client, id, &tail{stdout: out, stderr: told, ends: map[place]int64{}}, false)
	}
	words, code := "", exitUnknown
	if err == nil {
		code, words = exitOf(&run)
	} else if ctx.Err() == nil {
		words = strings.TrimSpace(err.Error())
	}
	out.flush()  //nolint:errcheck // what comes after it tells
	told.flush() //nolint:errcheck // likewise
	if words != "" {
		fmt.Fprintf(told, "crony: %s\n", words)
	}
	return code
}

// begun waits for a run that was ordered to be known, but not for longer than the servers are given to come back.
func (c *cli) begun(ctx context.Context, client *sdk.Client, id crony.RunID) (crony.Run, error) {
	for began := c.now(); ; {
		run, err := client.Run(ctx, id)
		code := crony.CodeOf(err)
		if err == nil || code != crony.NotFound && code != crony.Unavailable || c.now().Sub(began) >= c.patience {
			return run, err
		}
		if err := pause(ctx, c.poll); err != nil {
			return run, err
		}
	}
}
