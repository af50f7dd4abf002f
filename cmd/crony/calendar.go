package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) calendarCmd() *cobra.Command {
	return noun("calendar", "Look at calendars and remove them",
		`Calendars say on which days jobs do not run. They are defined in manifests, under "calendars:", by "crony job apply".`,
		c.calendarListCmd(), c.calendarShowCmd(), c.calendarDeleteCmd())
}

func (c *cli) calendarListCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List calendars by name",
		Args:  cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			calendars, err := client.ListCalendars(ctx)
			if err != nil {
				return err
			}
			now := c.now()
			return list(c, []column[crony.CalendarStatus]{
				{"NAME", func(s crony.CalendarStatus) string { return s.Calendar.Name }},
				{"ZONE", func(s crony.CalendarStatus) string { return zoneOf(&s.Calendar) }},
				{"WORKING DAYS", func(s crony.CalendarStatus) string { return workingDays(&s.Calendar) }},
				{"JOBS", func(s crony.CalendarStatus) string { return strconv.Itoa(len(s.Jobs)) }},
				{"CHANGED", func(s crony.CalendarStatus) string { return ago(now, s.UpdatedAt) }},
			}, each(calendars))
		}),
	}
}

func (c *cli) calendarShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one calendar",
		Long: `Show tells what a calendar holds, and which jobs keep it.

With -o yaml it gives back the manifest that defines the calendar; with -o json the calendar and its status.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			status, err := client.Calendar(ctx, args[0])
			switch {
			case err != nil:
				return err
			case c.format == asYAML:
				return c.document(crony.Manifest{Calendars: []crony.Calendar{status.Calendar}})
			case c.format == asJSON:
				return c.document(status)
			}
			return c.calendarSheet(&status)
		}),
	}
	c.completeNames(cmd, false, calendarNames)
	return cmd
}

// calendarSheet prints a calendar for a person.
func (c *cli) calendarSheet(status *crony.CalendarStatus) error {
	s, calendar := newSheet(c.stdout), &status.Calendar
	s.line("Name", calendar.Name)
	s.line("Zone", zoneOf(calendar))
	s.line("Working days", workingDays(calendar))
	s.lines("Days off", calendar.DaysOff)
	s.lines("But working", calendar.ExtraWorkingDays)
	blackouts := make([]string, len(calendar.Blackouts))
	for i, b := range calendar.Blackouts {
		blackouts[i] = b.From.UTC().Format(time.RFC3339Nano) + " to " + b.To.UTC().Format(time.RFC3339Nano)
	}
	s.lines("Blackouts", blackouts)
	s.line("Kept by", strings.Join(status.Jobs, ", "))
	s.line("Changed", changed(c.now(), status.UpdatedAt, status.UpdatedBy))
	return s.flush()
}

func zoneOf(c *crony.Calendar) string {
	if c.Timezone == "" {
		return "UTC"
	}
	return c.Timezone
}

func workingDays(c *crony.Calendar) string {
	if len(c.WorkingDays) == 0 {
		return "every day"
	}
	days := make([]string, len(c.WorkingDays))
	for i, day := range c.WorkingDays {
		days[i] = string(day)
	}
	return strings.Join(days, " ")
}

func (c *cli) calendarDeleteCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove a calendar that no job keeps",
		Long:  "Delete removes a calendar, unless a job keeps it. Nothing that runs depends on it then, so it does not ask.",
		Args:  cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			return list(c, deletedColumns(), one(args, func(name string) (deleted, error) {
				return deleted{name, "deleted"}, client.DeleteCalendar(ctx, name)
			}))
		}),
	}
	c.completeNames(cmd, false, calendarNames)
	return cmd
}
