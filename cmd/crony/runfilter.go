package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

// runFilter is the flags that say which runs a command is about.
type runFilter struct {
	query           crony.RunQuery
	state, trigger  string
	labels          []string
	since, until    string
	tz              string
	longer, shorter string
}

func (f *runFilter) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.query.Job, "job", "", "only runs of the job with this `NAME`")
	flags.StringVar(&f.query.Agent, "agent", "", "only runs on this `AGENT`: its id, or its name while it is connected")
	flags.StringVar(&f.state, "state", "", "only runs in this `STATE`: "+strings.Join(crony.RunState("").Allowed(), ", "))
	flags.StringVar(&f.query.Group, "group", "", "only runs of jobs that were in this `GROUP`")
	flags.StringVar(&f.trigger, "trigger", "",
		"only runs of this `TRIGGER`: "+strings.Join(crony.Trigger("").Allowed(), ", "))
	flags.StringArrayVar(&f.labels, "label", nil, "only runs of jobs that had this label, `KEY=VALUE`; repeatable, for each of them")
	flags.StringVar(&f.since, "since", "", "only runs that were due at or after this `TIME`")
	flags.StringVar(&f.until, "until", "", "only runs that were due before this `TIME`")
	tzFlag(cmd, &f.tz)
	flags.StringVar(&f.longer, "longer", "", "only runs that took, or have taken, at least this `LONG`, as 90s or 1h30m")
	flags.StringVar(&f.shorter, "shorter", "", "only runs that have ended and took less than this `LONG`")
	flags.BoolVar(&f.query.ToHandle, "to-handle", false, "only runs that have ended with a result that is still to be handled")
	complete(cmd, "state", crony.RunState("").Allowed())
	complete(cmd, "trigger", crony.Trigger("").Allowed())
	for _, flag := range []string{"group", "label", "since", "until", "longer", "shorter"} {
		complete(cmd, flag, nil)
	}
}

// read puts the flags into f.query, but for the agent's name.
func (f *runFilter) read(c *cli) (err error) {
	q := &f.query
	q.State, q.Trigger = crony.RunState(f.state), crony.Trigger(f.trigger)
	if err := checkWord("state of a run", f.state, q.State.Allowed()); err != nil {
		return err
	}
	if err := checkWord("trigger of a run", f.trigger, q.Trigger.Allowed()); err != nil {
		return err
	}
	for _, label := range f.labels {
		key, value, ok := strings.Cut(label, "=")
		if !ok || key == "" {
			return crony.Errorf(crony.Invalid, "--label %q is not a label and its value", label).WithHint("write it as key=value")
		}
		if q.Labels == nil {
			q.Labels = map[string]string{}
		}
		if other, twice := q.Labels[key]; twice && other != value {
			return crony.Errorf(crony.Invalid, "--label: no job has two values of %q", key).WithHint("give one of them")
		}
		q.Labels[key] = value
	}
	if q.From, err = c.timeFlag("since", f.since, f.tz); err != nil {
		return err
	}
	if q.To, err = c.timeFlag("until", f.until, f.tz); err != nil {
		return err
	}
	if f.since != "" && f.until != "" && q.From.After(q.To) {
		return crony.Errorf(crony.Invalid, "--since is later than --until: %s, %s",
			q.From.Format(time.RFC3339Nano), q.To.Format(time.RFC3339Nano)).WithHint("swap them")
	}
	if q.Longer, err = lengthFlag("longer", f.longer); err != nil {
		return err
	}
	q.Shorter, err = lengthFlag("shorter", f.shorter)
	return err
}

// find makes an agent's name in the query its id.
func (f *runFilter) find(ctx context.Context, client *sdk.Client) (err error) {
	f.query.Agent, err = agentID(ctx, client, f.query.Agent)
	return err
}

func checkWord(what, word string, allowed []string) error {
	for _, s := range allowed {
		if s == word {
			return nil
		}
	}
	if word == "" {
		return nil
	}
	return crony.Errorf(crony.Invalid, "%q is no %s", word, what).WithHint("one of: %s", strings.Join(allowed, ", "))
}

// lengthFlag reads a flag's value as a length of time; 0 if it is empty.
func lengthFlag(flag, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := crony.ParseDuration(text)
	if err != nil || d == 0 {
		return 0, crony.Errorf(crony.Invalid, "--%s %q is not a length of time", flag, text).
			WithHint("write one like 90s, 1h30m or 2d")
	}
	return d.Std(), nil
}
