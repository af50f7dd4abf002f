package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) jobHistoryCmd() *cobra.Command {
	var days int
	cmd := &cobra.Command{
		Use:   "history JOB",
		Short: "Show how a job's runs ended on each of the last days",
		Long: `History prints how many runs of a job ended how on each day, the newest first, and how long they took: half of them no
longer than P50, nine of ten no longer than P90. A run counts on the day on which it was due, in UTC. Days without runs
are left out.

Above the table stands one character for each day, the oldest first: how many of its runs did not succeed.

  ·  no run     ▁  all well     ▃  up to 1 in 10     ▅  up to half     █  more

Skipped runs count as neither.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error { return c.jobHistory(ctx, args[0], days) }),
	}
	cmd.Flags().IntVar(&days, "days", 30, fmt.Sprintf("the last `N` days, with today; at most %d", crony.MaxHistory))
	c.completeNames(cmd, false, jobNames)
	return cmd
}

func (c *cli) jobHistory(ctx context.Context, job string, days int) error {
	if days < 1 || days > crony.MaxHistory {
		return crony.Errorf(crony.Invalid, "--days is %d", days).WithHint("give a number from 1 to %d", crony.MaxHistory)
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	history, err := client.History(ctx, job, days)
	if err == nil && len(history) == 0 {
		_, err = client.Job(ctx, job) // a name that is nobody's is more likely than a job that never ran
	}
	if err != nil {
		return err
	}
	if c.format == asTable {
		if err := c.write([]byte(heatLine(history, c.now().UTC(), days) + "\n\n")); err != nil {
			return err
		}
	}
	return list(c, []column[crony.DayFigures]{
		{"DAY", func(d crony.DayFigures) string { return d.Day }},
		{"RUNS", func(d crony.DayFigures) string { return strconv.FormatInt(d.Counts.Total(), 10) }},
		{"SUCCEEDED", func(d crony.DayFigures) string { return nonzero(d.Counts.Succeeded) }},
		{"FAILED", func(d crony.DayFigures) string { return nonzero(d.Counts.Failed) }},
		{"TIMED OUT", func(d crony.DayFigures) string { return nonzero(d.Counts.TimedOut) }},
		{"KILLED", func(d crony.DayFigures) string { return nonzero(d.Counts.Killed) }},
		{"LOST", func(d crony.DayFigures) string { return nonzero(d.Counts.Lost) }},
		{"SKIPPED", func(d crony.DayFigures) string { return nonzero(d.Counts.Skipped) }},
		{"P50", durationColumn(func(d *crony.Durations) float64 { return d.P50 })},
		{"P90", durationColumn(func(d *crony.Durations) float64 { return d.P90 })},
		{"MAX", durationColumn(func(d *crony.Durations) float64 { return d.Max })},
		{"CPU", func(d crony.DayFigures) string { return seconds(d.CPUSeconds) }},
	}, each(history))
}

func durationColumn(of func(*crony.Durations) float64) func(crony.DayFigures) string {
	return func(d crony.DayFigures) string {
		if d.Durations == nil {
			return ""
		}
		return seconds(of(d.Durations))
	}
}

// seconds writes a number of seconds as a length of time.
func seconds(s float64) string {
	from := time.Unix(0, 0)
	return took(from, from, from.Add(time.Duration(s*float64(time.Second))))
}

// heatLine has a character for each of the last days.
func heatLine(history []crony.DayFigures, now time.Time, days int) string {
	byDay := map[string]crony.RunCounts{}
	for _, d := range history {
		byDay[d.Day] = d.Counts
	}
	var line strings.Builder
	for ago := days - 1; ago >= 0; ago-- {
		line.WriteRune(heat(byDay[now.AddDate(0, 0, -ago).Format(time.DateOnly)]))
	}
	return line.String()
}

func heat(n crony.RunCounts) rune {
	ran := n.Total() - n.Skipped
	switch bad := ran - n.Succeeded; {
	case ran == 0:
		return '·'
	case bad == 0:
		return '▁'
	case bad*10 <= ran:
		return '▃'
	case bad*2 <= ran:
		return '▅'
	}
	return '█'
}
