package main

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
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
	return presetShowCmd(c, crony.KindCalendar, "Show tells what a calendar holds, and which jobs keep it.", calendarNames,
		func(ctx context.Context, client *sdk.Client, name string) (crony.CalendarStatus, crony.Manifest, error) {
			s, err := client.Calendar(ctx, name)
			return s, crony.Manifest{Calendars: []crony.Calendar{s.Calendar}}, err
		}, c.calendarSheet)
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
	return c.presetDeleteCmd(crony.KindCalendar, "keep", calendarNames, (*sdk.Client).DeleteCalendar)
}
