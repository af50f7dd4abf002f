package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"crony"
)

// jobSheet prints a job for a person.
func (c *cli) jobSheet(j *crony.JobStatus, agents agentNames) error {
	now, s := c.now(), newSheet(c.stdout)
	s.line("Name", j.Job.Name)
	s.line("Title", j.Job.Title)
	s.line("Group", j.Job.InGroup())
	s.line("Labels", pairs(j.Job.Labels))
	s.line("Owner", j.Job.Owner)
	s.line("Note", j.Job.Note)
	s.line("State", jobState(j))
	s.line("Waiting", j.Waiting)
	s.lines("Ordered", orders(now, j.Orders, agents))
	s.line("Overlap", overlapOf(&j.Job))
	s.lines("Held by", held(now, j.Locks, false, agents))
	s.lines("In queue", held(now, j.Locks, true, agents))
	s.line("Schedule", schedules(&j.Job))
	s.lines("Calendars", calendarUses(&j.Job))
	s.line("Next", instant(now, j.NextAt))
	s.line("Work", workOf(&j.Job))
	if j.Job.Timeout > 0 {
		s.line("Timeout", j.Job.Timeout.String())
	}
	s.line("Scripts", strings.Join(j.Job.Scripts, ", "))
	s.line("Kept", retention(j.Job.Retention))
	if n := j.Assigned; n > 1 {
		s.line("Agents", strconv.Itoa(n))
	}
	for i := range j.Assignments {
		a := &j.Assignments[i]
		s.line("Agent", agents.name(a.Agent))
		s.line("Placed", instant(now, a.Since)+", "+a.Reason)
	}
	if r := j.LastRun; r != nil {
		s.line("Last run", fmt.Sprintf("%s %s", r.ID, lastRun(now, j)))
	}
	s.line("Generation", strconv.FormatInt(j.Generation, 10))
	s.line("Created", instant(now, j.CreatedAt))
	s.line("Changed", changed(now, j.UpdatedAt, j.UpdatedBy))
	return s.flush()
}

// orders says which runs were asked for and have not been taken.
func orders(now time.Time, list []crony.StartRequest, agents agentNames) []string {
	lines := make([]string, len(list))
	for i, o := range list {
		lines[i] = fmt.Sprintf("%s, for %s, %s", o.Run, agents.name(o.Agent), ago(now, o.At))
		switch {
		case o.By != "":
			lines[i] += " by " + o.By
		case o.RerunOf != "":
			lines[i] = fmt.Sprintf("%s, for %s, in the place of %s, which is lost", o.Run, agents.name(o.Agent), o.RerunOf)
		}
	}
	return lines
}

// overlapOf says what becomes of an occurrence while runs go on; "" if it runs beside them.
func overlapOf(j *crony.Job) string {
	n := j.Slots()
	switch {
	case n == 0:
		return ""
	case n == 1 && j.Overlap != "":
		return string(j.Overlap)
	}
	return fmt.Sprintf("%s, %d runs at once", cmp.Or(j.Overlap, crony.OverlapAllow), n)
}

// maxHeld is how many runs of a queue are shown.
const maxHeld = 10

// held says which runs hold a job, or which wait for it.
func held(now time.Time, list []crony.Lock, waiting bool, agents agentNames) []string {
	var lines []string
	more := 0
	for _, l := range list {
		switch {
		case l.Waits != waiting:
		case len(lines) == maxHeld:
			more++
		default:
			line := fmt.Sprintf("%s on %s, since %s", l.Run, agents.name(l.Agent), ago(now, l.Since))
			if l.ReplacedBy != "" {
				line += ", replaced by " + string(l.ReplacedBy)
			}
			lines = append(lines, line)
		}
	}
	if more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return lines
}

// retention says how much of a job's history is kept; "" if that is not for the job to say.
func retention(r *crony.Retention) string {
	if r == nil {
		return ""
	}
	var bounds []string
	if r.Runs > 0 {
		bounds = append(bounds, fmt.Sprintf("the last %d runs", r.Runs))
	}
	if r.Age > 0 {
		bounds = append(bounds, "for "+r.Age.String())
	}
	return strings.Join(bounds, ", ")
}

// jobState says in a word where a job stands.
func jobState(j *crony.JobStatus) string {
	switch {
	case j.Job.Paused:
		return "paused"
	case j.Assigned == 0:
		return "waiting"
	default:
		return "active"
	}
}

// lastRun says how a job last went, and when.
func lastRun(now time.Time, j *crony.JobStatus) string {
	r := j.LastRun
	switch {
	case r == nil:
		return ""
	case !r.EndedAt.IsZero():
		return fmt.Sprintf("%s %s", r.State, ago(now, r.EndedAt))
	case !r.StartedAt.IsZero():
		return fmt.Sprintf("%s, began %s", r.State, ago(now, r.StartedAt))
	default:
		return fmt.Sprintf("%s, due %s", r.State, ago(now, r.ScheduledAt))
	}
}

// schedules says when a job comes due.
func schedules(j *crony.Job) string {
	entries := j.Entries()
	texts := make([]string, len(entries))
	for i, e := range entries {
		texts[i] = entry(e)
	}
	return strings.Join(texts, "; ")
}

// calendarUses says which calendars a job keeps, and what their days off do to it.
func calendarUses(j *crony.Job) []string {
	texts := make([]string, len(j.Calendars))
	for i, use := range j.Calendars {
		texts[i] = fmt.Sprintf("%s (%s)", use.Name, use.On)
	}
	return texts
}

func entry(e crony.ScheduleEntry) string {
	var words []string
	switch {
	case e.Cron != "":
		words = append(words, e.Cron)
	case e.Every > 0:
		words = append(words, "every "+e.Every.String())
	default:
		for _, at := range e.At {
			words = append(words, "at "+at.UTC().Format(time.RFC3339))
		}
	}
	if e.Timezone != "" {
		words = append(words, e.Timezone)
	}
	if e.Jitter > 0 {
		words = append(words, "within "+e.Jitter.String())
	}
	if !e.StartsAt.IsZero() {
		words = append(words, "from "+e.StartsAt.UTC().Format(time.RFC3339))
	}
	if !e.EndsAt.IsZero() {
		words = append(words, "until "+e.EndsAt.UTC().Format(time.RFC3339))
	}
	return strings.Join(words, ", ")
}

// workOf says in one line what a job does.
func workOf(j *crony.Job) string {
	switch {
	case j.HTTP != nil:
		return strings.TrimSpace(j.HTTP.Method + " " + j.HTTP.URL)
	case j.GRPC != nil:
		return j.GRPC.Target + " " + j.GRPC.Method
	case j.Shell == nil:
		return ""
	case len(j.Shell.Argv) > 0:
		return short(strings.Join(j.Shell.Argv, " "), 100)
	case j.Shell.Command != "":
		return short(j.Shell.Command, 100)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(j.Shell.Script), "\n")
	return fmt.Sprintf("script of %d lines: %s", len(strings.Split(strings.TrimRight(j.Shell.Script, "\n"), "\n")), short(first, 80))
}

// pairs writes labels as people write them: a=1, b=2, and c if its value is empty.
func pairs(labels map[string]string) string {
	texts := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		text := key
		if labels[key] != "" {
			text += "=" + labels[key]
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// short cuts a text to at most n characters.
func short(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}
