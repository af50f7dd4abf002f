package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) scheduleCmd() *cobra.Command {
	return noun("schedule", "Say what schedules mean",
		`The schedule commands call no server: they answer by the same rules as the agents.`,
		c.scheduleNextCmd(), c.scheduleExplainCmd())
}

// question is what both commands ask.
type question struct {
	crony.ScheduleQuestion
	from string
}

func (c *cli) scheduleNextCmd() *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:     "next EXPR",
		Short:   "Print when a schedule comes due next",
		Example: `  crony schedule next '30 2 * * *' --tz Europe/Berlin --from 2027-03-27T00:00:00Z -n 3`,
		Args:    cobra.ExactArgs(1),
		RunE: work(func(_ context.Context, args []string) error {
			answer, err := c.ask(q, args[0])
			if err != nil {
				return err
			}
			return list(c, []column[crony.ScheduleFire]{
				{"AT", func(f crony.ScheduleFire) string { return f.At.Format(time.RFC3339Nano) }},
				{"ON THE CLOCK OF " + strings.ToUpper(answer.Timezone), func(f crony.ScheduleFire) string { return f.Wall }},
				{"NOTE", func(f crony.ScheduleFire) string { return f.Note }},
			}, each(answer.Next))
		}),
	}
	q.flags(cmd)
	return cmd
}

func (c *cli) scheduleExplainCmd() *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:     "explain EXPR",
		Short:   "Say in words what a schedule means",
		Long:    "Explain says in words when a schedule comes due, when it does so next, and what changes of the clocks do to it.",
		Example: `  crony schedule explain '0 4 * * 7#1' --lang zh-CN`,
		Args:    cobra.ExactArgs(1),
		RunE: work(func(_ context.Context, args []string) error {
			answer, err := c.ask(q, args[0])
			if err != nil {
				return err
			}
			if c.format != asTable {
				return c.document(answer)
			}
			return c.scheduleSheet(&answer)
		}),
	}
	q.flags(cmd)
	return cmd
}

func (q *question) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&q.Timezone, "tz", "", "the time `ZONE` of its wall times and of --from, as Europe/Berlin (default: UTC)")
	f.StringVar(&q.from, "from", "",
		"after this `TIME`, as 2027-01-31T18:00:00Z, \"2027-01-31 18:00\", 18:00 or -24h (default: now)")
	f.IntVarP(&q.Count, "count", "n", 5, "how `MANY` times")
	f.StringVar(&q.Job, "job", "", "the `NAME` of the job, which H is a hash of")
	f.StringVar(&q.Language, "lang", "en", "the `LANGUAGE` of the words: en or zh-CN")
}

func (c *cli) ask(q question, expr string) (crony.ScheduleAnswer, error) {
	q.Schedule = expr
	if q.from != "" {
		from, err := c.timeFlag("from", q.from, q.Timezone)
		if err != nil {
			return crony.ScheduleAnswer{}, err
		}
		q.From = from
	}
	return q.Explain(c.now())
}

func (c *cli) scheduleSheet(a *crony.ScheduleAnswer) error {
	s := newSheet(c.stdout)
	s.line("Schedule", a.Schedule)
	s.line("Zone", a.Timezone)
	s.line("Means", a.Words)
	if len(a.Next) == 0 {
		s.line("Next", "never by time")
	}
	fires := make([]string, len(a.Next))
	for i, fire := range a.Next {
		fires[i] = fire.Wall
		if fire.Note != "" {
			fires[i] = fmt.Sprintf("%s  (%s)", fire.Wall, fire.Note)
		}
	}
	s.lines("Next", fires)
	return s.flush()
}
