package main

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

func (c *cli) runCmd() *cobra.Command {
	return noun("run", "Start runs, look at them and read their output", "",
		c.runListCmd(), c.runShowCmd(), c.runLogsCmd(), c.runSearchCmd(), c.runExportCmd(), c.runStartCmd(),
		c.runKillCmd(), c.runHandledCmd())
}

// runList is what `run list` is told.
type runList struct {
	runFilter
	limit      int
	limitGiven bool
	withOutput bool
	count      bool
}

// tableLimit is the number of runs in a table unless another is given: what a person can look through.
const tableLimit = 50

func (c *cli) runListCmd() *cobra.Command {
	var l runList
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List runs, the newest first",
		Long: `List prints runs, the newest first. A table has at most ` + strconv.Itoa(tableLimit) + ` of them unless --limit is
given. With -o json or yaml it is all that the servers know, as one list, which is written as it arrives: it can be long.

With --count it prints how many they are, and no runs. Counting stops at what it may cost: "at least" says so.

` + timesHelp,
		Example: "  crony run list --state failed --since -24h\n  crony run list --group etl --label tier=gold --longer 1h --count",
		Args:    cobra.NoArgs,
	}
	cmd.RunE = work(func(ctx context.Context, _ []string) error {
		l.limitGiven = cmd.Flags().Changed("limit")
		return c.runList(ctx, l)
	})
	l.flags(cmd)
	flags := cmd.Flags()
	flags.IntVar(&l.limit, "limit", 0,
		"at most `N` runs; 0 is all (default: "+strconv.Itoa(tableLimit)+" in a table, else all)")
	flags.BoolVar(&l.withOutput, "with-output", false, "add to each run the text of its kept output, as \"output\" (not in a table)")
	flags.BoolVar(&l.count, "count", false, "only print how many there are")
	cmd.MarkFlagsMutuallyExclusive("count", "with-output")
	cmd.MarkFlagsMutuallyExclusive("count", "limit")
	return cmd
}

func (c *cli) runList(ctx context.Context, l runList) error {
	if err := l.check(c); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if err := l.find(ctx, client); err != nil {
		return err
	}
	if l.count {
		return c.runCount(ctx, client, l.query)
	}
	l.query.Limit = l.limit
	if l.withOutput {
		return list(c, nil, withOutput(ctx, client, runsOf(ctx, client, l.query)))
	}
	agents, err := c.agentNames(ctx, client)
	if err != nil {
		return err
	}
	columns := runColumns(c.now(), agents)
	if c.format != asTable || l.limitGiven {
		return list(c, columns, runsOf(ctx, client, l.query))
	}
	more := false
	l.query.Limit = tableLimit + 1 // one more than is shown tells whether there are more
	if err := list(c, columns, first(tableLimit, runsOf(ctx, client, l.query), &more)); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(c.stderr, "crony: these are the newest %d; --limit 0 prints all\n", tableLimit)
	}
	return nil
}

func (l *runList) check(c *cli) error {
	if err := l.read(c); err != nil {
		return err
	}
	if l.withOutput && c.format == asTable {
		return crony.Errorf(crony.Invalid, "a table has no room for output").
			WithHint("give -o json or -o yaml, or read one run's with `crony run logs`")
	}
	return checkLimit(l.limit)
}

func (c *cli) runCount(ctx context.Context, runs crony.Runs, q crony.RunQuery) error {
	q.Count, q.Limit = true, 1
	page, err := runs.ListRuns(ctx, q)
	if err != nil {
		return err
	}
	if page.Count == nil {
		return crony.Errorf(crony.Unavailable, "the server does not count runs").WithHint("it may be older than this command")
	}
	if c.format != asTable {
		return c.document(page.Count)
	}
	text := strconv.FormatInt(page.Count.Runs, 10)
	if page.Count.More {
		text = "at least " + text
	}
	return c.write([]byte(text + "\n"))
}

func runColumns(now time.Time, agents agentNames) []column[crony.Run] {
	return []column[crony.Run]{
		{"ID", func(r crony.Run) string { return string(r.ID) }},
		{"JOB", func(r crony.Run) string { return r.Job }},
		{"STATE", func(r crony.Run) string { return stateOf(&r) }},
		{"EXIT", func(r crony.Run) string { return exitText(&r) }},
		{"DUE", func(r crony.Run) string { return ago(now, r.ScheduledAt) }},
		{"TOOK", func(r crony.Run) string { return took(now, r.StartedAt, r.EndedAt) }},
		{"AGENT", func(r crony.Run) string { return agents.name(r.Agent) }},
	}
}

// runsOf yields all runs that q selects, page by page; its limit is of all pages together.
func runsOf(ctx context.Context, runs crony.Runs, q crony.RunQuery) iter.Seq2[crony.Run, error] {
	return pages(q.Limit, func(cursor string, size int) ([]crony.Run, string, error) {
		q.Cursor, q.Limit = cursor, size
		page, err := runs.ListRuns(ctx, q)
		return page.Items, page.Next, err
	})
}

// first yields n of the items, and notes whether there are more.
func first[T any](n int, items iter.Seq2[T, error], more *bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		left := n
		for item, err := range items {
			if err == nil && left == 0 {
				*more = true
				return
			}
			left--
			if !yield(item, err) {
				return
			}
		}
	}
}

// runWithOutput is a run and what is kept of its output: attempt by attempt, stdout and then stderr. Bytes that are not
// UTF-8 are replaced, as JSON has no way to hold them.
type runWithOutput struct {
	crony.Run
	Output string `json:"output"`
}

func withOutput(ctx context.Context, client crony.Runs, runs iter.Seq2[crony.Run, error]) iter.Seq2[runWithOutput, error] {
	return func(yield func(runWithOutput, error) bool) {
		for run, err := range runs {
			var output string
			if err == nil {
				output, err = outputText(ctx, client, run.ID)
			}
			if !yield(runWithOutput{run, output}, err) || err != nil {
				return
			}
		}
	}
}

// outputText collects what is kept of a run's output now. A run that was dropped meanwhile has none.
func outputText(ctx context.Context, client crony.Runs, id crony.RunID) (string, error) {
	var b strings.Builder
	for chunk, err := range client.Output(ctx, id, false) {
		switch {
		case crony.CodeOf(err) == crony.NotFound:
			return b.String(), nil
		case err != nil:
			return "", err
		}
		b.Write(chunk.Data)
	}
	return b.String(), nil
}

// agentID returns the id of the agent with a name; what is no such name is taken for an id.
func agentID(ctx context.Context, client *sdk.Client, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	agents, err := client.ListAgents(ctx)
	if err != nil {
		return "", err
	}
	for i := range agents {
		if agents[i].Name == name {
			return agents[i].ID, nil
		}
	}
	return name, nil
}

func (c *cli) runShowCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show one run",
		Args:  cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			id, err := crony.ParseRunID(args[0])
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			run, err := client.Run(ctx, id)
			if err != nil {
				return err
			}
			if c.format != asTable {
				return c.document(run)
			}
			agents, err := c.agentNames(ctx, client)
			if err != nil {
				return err
			}
			return c.runSheet(&run, agents)
		}),
	}
}

// runSheet prints a run for a person.
func (c *cli) runSheet(r *crony.Run, agents agentNames) error {
	now, s := c.now(), newSheet(c.stdout)
	s.line("ID", string(r.ID))
	s.line("Job", fmt.Sprintf("%s, generation %d", r.Job, r.Generation))
	s.line("Group", r.Group)
	s.line("Labels", pairs(r.Labels))
	s.line("State", string(r.State))
	s.line("Reason", r.Reason)
	s.line("Until", instant(now, r.Until))
	s.line("Progress", progressText(now, r.Progress))
	s.line("Agent", agents.name(r.Agent))
	s.line("Trigger", triggerOf(r))
	s.line("Doubles", string(r.Doubles))
	s.line("Place of", string(r.RerunOf))
	s.line("Params", pairs(r.Params))
	s.line("Due", instant(now, r.ScheduledAt))
	s.line("Started", instant(now, r.StartedAt))
	s.line("Waits until", instant(now, r.Until))
	s.line("Ended", instant(now, r.EndedAt))
	s.line("Took", took(now, r.StartedAt, r.EndedAt))
	resultLines(s, now, r)
	if err := s.flush(); err != nil || len(r.Attempts) == 0 {
		return err
	}
	fmt.Fprintln(c.stdout)
	columns := []column[crony.Attempt]{{"ATTEMPT", func(a crony.Attempt) string { return strconv.Itoa(a.Number) }}}
	if slices.ContainsFunc(r.Attempts, func(a crony.Attempt) bool { return a.Agent != "" }) {
		columns = append(columns, column[crony.Attempt]{"AGENT", func(a crony.Attempt) string { return agents.name(a.Agent) }})
	}
	return list(c, append(columns, []column[crony.Attempt]{
		{"EXIT", func(a crony.Attempt) string { return attemptExit(&a) }},
		{"STARTED", func(a crony.Attempt) string { return a.StartedAt.UTC().Format("15:04:05.000") }},
		{"TOOK", func(a crony.Attempt) string { return took(now, a.StartedAt, a.EndedAt) }},
		{"PID", func(a crony.Attempt) string { return nonzero(int64(a.PID)) }},
		{"CPU", func(a crony.Attempt) string { return fmt.Sprintf("%.2fs", a.CPUSeconds) }},
		{"MAX RSS", func(a crony.Attempt) string { return memory(a.MaxRSS) }},
		{"STDOUT", func(a crony.Attempt) string { return bytesText(a.StdoutBytes) }},
		{"STDERR", func(a crony.Attempt) string { return bytesText(a.StderrBytes) }},
	}...), each(r.Attempts))
}

// progressText draws how far a run says that it is.
func progressText(now time.Time, p *crony.Progress) string {
	if p == nil {
		return ""
	}
	const width = 20
	full := min(max(p.Percent, 0), 100) * width / 100
	text := fmt.Sprintf("[%s%s] %d%%, %s", strings.Repeat("#", full), strings.Repeat(".", width-full), p.Percent, ago(now, p.At))
	if p.Message != "" {
		text += ": " + p.Message
	}
	return text
}

// triggerOf says why a run exists.
func triggerOf(r *crony.Run) string {
	switch {
	case r.Trigger == crony.ByPrepare:
		return string(r.Trigger) + ", script " + r.By
	case r.By != "":
		return string(r.Trigger) + " by " + r.By
	}
	return string(r.Trigger)
}

func exitText(r *crony.Run) string {
	if len(r.Attempts) == 0 {
		return ""
	}
	return attemptExit(&r.Attempts[len(r.Attempts)-1])
}

func attemptExit(a *crony.Attempt) string {
	switch {
	case a.Signal != "":
		return a.Signal
	case a.ExitCode != nil:
		return strconv.Itoa(*a.ExitCode)
	}
	return a.Status
}

func nonzero(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// memory is how much a run had at the most; "" if that is not known.
func memory(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return bytesText(bytes)
}

// bytesText writes a number of bytes in the unit that leaves it between 1 and 1024.
func bytesText(n int64) string {
	size, unit := float64(n), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d%s", n, units[0])
	}
	return fmt.Sprintf("%.1f%s", size, units[unit])
}
