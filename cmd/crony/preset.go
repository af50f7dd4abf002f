package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

// presetShowCmd is the command that shows a preset: a calendar or a script. Find returns it with its status, and the manifest
// that defines it; sheet prints it for a person.
func presetShowCmd[T any](
	c *cli, kind crony.Kind, what string, names namesOf,
	find func(ctx context.Context, client *sdk.Client, name string) (T, crony.Manifest, error), sheet func(*T) error,
) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: fmt.Sprintf("Show one %s", kind),
		Long: fmt.Sprintf(`%s

With -o yaml it gives back the manifest that defines the %[2]s; with -o json the %[2]s and its status.`, what, kind),
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			status, manifest, err := find(ctx, client, args[0])
			switch {
			case err != nil:
				return err
			case c.format == asYAML:
				return c.document(manifest)
			case c.format == asJSON:
				return c.document(status)
			}
			return sheet(&status)
		}),
	}
	c.completeNames(cmd, false, names)
	return cmd
}

// presetDeleteCmd is the command that removes a preset. Verb is what a job does to it that needs it.
func (c *cli) presetDeleteCmd(
	kind crony.Kind, verb string, names namesOf, remove func(client *sdk.Client, ctx context.Context, name string) error,
) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: fmt.Sprintf("Remove a %s that no job %ss", kind, verb),
		Long: fmt.Sprintf("Delete removes a %s, unless a job %ss it. Nothing that runs depends on it then, so it does not ask.",
			kind, verb),
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			return list(c, deletedColumns(), one(args, func(name string) (deleted, error) {
				return deleted{name, "deleted"}, remove(client, ctx, name)
			}))
		}),
	}
	c.completeNames(cmd, false, names)
	return cmd
}
