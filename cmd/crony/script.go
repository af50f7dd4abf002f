package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

func (c *cli) scriptCmd() *cobra.Command {
	return noun("script", "Look at preset scripts and remove them",
		`Scripts prepare a host for the jobs that name them: on each host that is given such a job, a script runs once for what it
holds, before anything of the job does. They are defined in manifests, under "scripts:", by "crony job apply". Their runs
are listed by "crony run list --trigger prepare".`,
		c.scriptListCmd(), c.scriptShowCmd(), c.scriptDeleteCmd())
}

func (c *cli) scriptListCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List scripts by name",
		Args:  cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			scripts, err := client.ListScripts(ctx)
			if err != nil {
				return err
			}
			now := c.now()
			return list(c, []column[crony.ScriptStatus]{
				{"NAME", func(s crony.ScriptStatus) string { return s.Script.Name }},
				{"INTERPRETER", func(s crony.ScriptStatus) string { return interpreterOf(&s.Script) }},
				{"TIMEOUT", func(s crony.ScriptStatus) string { return timeoutOf(&s.Script) }},
				{"JOBS", func(s crony.ScriptStatus) string { return strconv.Itoa(len(s.Jobs)) }},
				{"CHANGED", func(s crony.ScriptStatus) string { return ago(now, s.UpdatedAt) }},
			}, each(scripts))
		}),
	}
}

func (c *cli) scriptShowCmd() *cobra.Command {
	return presetShowCmd(c, crony.KindScript, "Show tells what a script does, and which jobs name it.", scriptNames,
		func(ctx context.Context, client *sdk.Client, name string) (crony.ScriptStatus, crony.Manifest, error) {
			s, err := client.Script(ctx, name)
			return s, crony.Manifest{Scripts: []crony.Script{s.Script}}, err
		}, c.scriptSheet)
}

// scriptSheet prints a script for a person.
func (c *cli) scriptSheet(status *crony.ScriptStatus) error {
	s, script := newSheet(c.stdout), &status.Script
	s.line("Name", script.Name)
	s.line("Interpreter", interpreterOf(script))
	s.line("Timeout", timeoutOf(script))
	s.line("Named by", strings.Join(status.Jobs, ", "))
	s.line("Changed", changed(c.now(), status.UpdatedAt, status.UpdatedBy))
	if err := s.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "\n%s\n", strings.TrimRight(script.Script, "\n"))
	return err
}

func interpreterOf(s *crony.Script) string { return cmp.Or(s.Interpreter, crony.DefaultInterpreter) }

func timeoutOf(s *crony.Script) string { return crony.Duration(s.Limit()).String() }

func (c *cli) scriptDeleteCmd() *cobra.Command {
	return c.presetDeleteCmd(crony.KindScript, "name", scriptNames, (*sdk.Client).DeleteScript)
}
