package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

// completionPatience bounds the wait of a shell that asks for names: then it offers none.
const completionPatience = 2 * time.Second

// namesOf returns names of something on the server; other names than those that begin with prefix may be among them.
type namesOf func(ctx context.Context, client *sdk.Client, prefix string) ([]string, error)

// completeNames offers names as a command's arguments: as its first, or as all of them. What goes wrong is not told: there is
// no place for it on the line that the person writes.
func (c *cli) completeNames(cmd *cobra.Command, all bool, names namesOf) {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && !all {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		client, err := c.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
		defer cancel()
		known, err := names(ctx, client, prefix)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		known = slices.DeleteFunc(known, func(name string) bool {
			return !strings.HasPrefix(name, prefix) || slices.Contains(args, name)
		})
		return known, cobra.ShellCompDirectiveNoFileComp
	}
}

// jobNames is one page of jobs: who has more of them writes more of the name first.
func jobNames(ctx context.Context, client *sdk.Client, prefix string) ([]string, error) {
	page, err := client.ListJobs(ctx, crony.JobQuery{Search: prefix, Limit: pageSize})
	names := make([]string, len(page.Items))
	for i := range page.Items {
		names[i] = page.Items[i].Job.Name
	}
	return names, err
}

func serverNames(ctx context.Context, client *sdk.Client, _ string) ([]string, error) {
	status, err := client.ClusterStatus(ctx)
	names := make([]string, len(status.Servers))
	for i := range status.Servers {
		names[i] = status.Servers[i].Name
	}
	return names, err
}

func namesOfAgents(ctx context.Context, client *sdk.Client, _ string) ([]string, error) {
	agents, err := client.ListAgents(ctx)
	names := make([]string, len(agents))
	for i := range agents {
		names[i] = agents[i].Name
	}
	return names, err
}

func tokenIDs(ctx context.Context, client *sdk.Client, _ string) ([]string, error) {
	tokens, err := client.ListJoinTokens(ctx)
	ids := make([]string, len(tokens))
	for i := range tokens {
		ids[i] = tokens[i].ID
	}
	return ids, err
}

func scriptNames(ctx context.Context, client *sdk.Client, _ string) ([]string, error) {
	scripts, err := client.ListScripts(ctx)
	names := make([]string, len(scripts))
	for i := range scripts {
		names[i] = scripts[i].Script.Name
	}
	return names, err
}

func calendarNames(ctx context.Context, client *sdk.Client, _ string) ([]string, error) {
	calendars, err := client.ListCalendars(ctx)
	names := make([]string, len(calendars))
	for i := range calendars {
		names[i] = calendars[i].Calendar.Name
	}
	return names, err
}
