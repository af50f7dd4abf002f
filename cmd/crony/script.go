package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"crony"
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
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one script",
		Long: `Show tells what a script does, and which jobs name it.

With -o yaml it gives back the manifest that defines the script; with -o json the script and its status.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			status, err := client.Script(ctx, args[0])
			switch {
			case err != nil:
				return err
			case c.format == asYAML:
				return c.document(crony.Manifest{Scripts: []crony.Script{status.Script}})
			case c.format == asJSON:
				return c.document(status)
			}
			return c.scriptSheet(&status)
		}),
	}
	c.completeNames(cmd, false, scriptNames)
	return cmd
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
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove a script that no job names",
		Long:  "Delete removes a script, unless a job names it. Nothing depends on it then, so it does not ask.",
		Args:  cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			return list(c, deletedColumns(), one(args, func(name string) (deleted, error) {
				return deleted{name, "deleted"}, client.DeleteScript(ctx, name)
			}))
		}),
	}
	c.completeNames(cmd, false, scriptNames)
	return cmd
}
