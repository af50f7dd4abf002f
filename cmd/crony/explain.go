package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) explainCmd() *cobra.Command {
	var at, tz, agent string
	cmd := &cobra.Command{
		Use:   "explain JOB --at TIME",
		Short: "Say why a job ran at a time, or why it did not",
		Long: `Explain says in words what became of the time at which a job was due, and why; then what is known of it. Of a time at
which the job was not due it says so, and which times are the nearest. Of a job that each agent runs it says what became of
it on all of them, or with --agent why on that one.

` + timesHelp,
		Example: `  crony explain nightly-report --at 2027-01-31T02:30:00Z
  crony explain nightly-report --at '2027-01-31 02:30' --tz Europe/Berlin`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			return c.explainOccurrence(ctx, args[0], agent, at, tz)
		}),
	}
	cmd.Flags().StringVar(&at, "at", "", "the `TIME` at which the job was due")
	complete(cmd, "at", nil)
	tzFlag(cmd, &tz)
	ownFlag(cmd, &agent)
	_ = cmd.MarkFlagRequired("at") // it fails for a flag that is not defined
	c.completeNames(cmd, false, jobNames)
	return cmd
}

func (c *cli) explainOccurrence(ctx context.Context, job, agent, at, tz string) error {
	zone, err := loadZone(tz)
	if err != nil {
		return err
	}
	instant, err := parseTime("at", at, c.now(), zone)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	q := crony.ExplainQuery{Job: job, At: instant}
	if q.Agent, err = agentID(ctx, client, agent); err != nil {
		return err
	}
	answer, err := client.ExplainOccurrence(ctx, q)
	if err != nil {
		return err
	}
	if c.format != asTable {
		return c.document(answer)
	}
	agents, err := c.agentNames(ctx, client)
	if err != nil {
		return err
	}
	if err := c.explanationSheet(&answer, agents); err != nil || len(answer.Agents) == 0 {
		return err
	}
	if err := c.write([]byte("\n")); err != nil {
		return err
	}
	return list(c, []column[crony.LedgerEntry]{
		{"AGENT", func(e crony.LedgerEntry) string { return agents.name(e.Agent) }},
		{"END", func(e crony.LedgerEntry) string { return string(e.End) }},
		{"REASON", func(e crony.LedgerEntry) string { return e.Reason }},
		{"RUN", func(e crony.LedgerEntry) string { return runInWords(&e) }},
	}, each(answer.Agents))
}

// ownFlag is for what can be asked of one agent's own occurrences.
func ownFlag(cmd *cobra.Command, agent *string) {
	cmd.Flags().StringVar(agent, "agent", "",
		"of a job that each agent runs, only what this `AGENT` had to do: its id, or its name while it is connected")
	complete(cmd, "agent", nil)
}

// explanationSheet prints the answer, and below it what it stands on.
func (c *cli) explanationSheet(e *crony.Explanation, agents agentNames) error {
	if err := c.write([]byte(clean(e.Words) + "\n\n")); err != nil {
		return err
	}
	now, s := c.now(), newSheet(c.stdout)
	s.line("Job", e.Job)
	s.line("At", instant(now, e.At))
	if !e.Occurrence {
		s.line("Due before", instant(now, e.Before))
		s.line("Due after", instant(now, e.After))
	}
	s.line("Generation", nonzero(e.Generation))
	if entry := e.Entry; entry != nil {
		s.line("End", string(entry.End))
		s.line("Reason", reasonOf(e))
		if entry.Count > 1 {
			s.line("Alike", strconv.FormatInt(entry.Count, 10)+" in a row")
			s.line("The first", instant(now, entry.From))
			s.line("The last", instant(now, entry.To))
		}
		s.line("Agent", agents.name(entry.Agent))
		s.line("Run", runInWords(entry))
	}
	if r := e.Run; r != nil {
		s.line("Started", instant(now, r.StartedAt))
		s.line("Ended", instant(now, r.EndedAt))
	}
	return s.flush()
}

// reasonOf is why an occurrence ended so; of one that ran, why its run did.
func reasonOf(e *crony.Explanation) string {
	if e.Entry.Reason == "" && e.Run != nil {
		return e.Run.Reason
	}
	return e.Entry.Reason
}

// runInWords names the run of an entry, and where it stands.
func runInWords(e *crony.LedgerEntry) string {
	if e.Run == "" || e.State == "" {
		return string(e.Run)
	}
	return fmt.Sprintf("%s, %s", e.Run, e.State)
}
