package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

func (c *cli) agentShowCmd() *cobra.Command {
	var figures, watch bool
	cmd := &cobra.Command{
		Use:   "show AGENT",
		Short: "Show an agent, and how its host is",
		Long: `Show tells all that is known of an agent, by its name or, if several have that, its id.

With --figures it also tells how the agent's host is now. With --watch it goes on telling that, every two seconds, until it is
interrupted. The agent looks at its host only while somebody asks.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if watch {
				return c.watchHost(ctx, client, args[0])
			}
			return c.agentShow(ctx, client, args[0], figures)
		}),
	}
	cmd.Flags().BoolVar(&figures, "figures", false, "how its host is, too")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "how its host is, every two seconds")
	cmd.MarkFlagsMutuallyExclusive("figures", "watch")
	c.completeNames(cmd, false, namesOfAgents)
	return cmd
}

// shownAgent is an agent with how its host is, if that was asked for.
type shownAgent struct {
	crony.AgentStatus
	Figures *crony.HostFigures `json:"figures,omitempty"`
}

func (c *cli) agentShow(ctx context.Context, client *sdk.Client, name string, figures bool) error {
	status, err := client.Agent(ctx, name)
	if err != nil {
		return err
	}
	a := shownAgent{AgentStatus: status}
	if figures {
		f, err := client.AgentFigures(ctx, a.ID)
		if err != nil {
			return err
		}
		a.Figures = &f
	}
	if c.format != asTable {
		return c.document(a)
	}
	jobs, err := jobNamesOf(ctx, client, &status)
	if err != nil {
		return err
	}
	page, err := client.ListRuns(ctx, crony.RunQuery{Agent: a.ID, State: crony.Running, Limit: namesShown})
	if err != nil {
		return err
	}
	return c.agentSheet(&a, jobs, page.Items)
}

// agentSheet prints an agent for a person.
func (c *cli) agentSheet(a *shownAgent, jobs []string, runs []crony.Run) error {
	now, s := c.now(), newSheet(c.stdout)
	s.line("Name", a.Name)
	s.line("ID", a.ID)
	s.line("State", agentState(&a.AgentStatus))
	if a.Up {
		s.line("Connected", instant(now, a.Since)+", to the server "+a.Server)
	} else {
		s.line("Last seen", instant(now, a.SeenAt))
	}
	s.line("Cordon", cordonText(now, a.Cordon))
	s.line("Host", a.Hostname)
	s.line("Platform", a.OS+"/"+a.Arch)
	s.lines("Lacks", a.Lacks)
	s.line("Version", a.Version)
	s.lines("Labels", labelTexts(&a.AgentStatus))
	weight := strconv.Itoa(a.Weight)
	if a.Set.Weight != 0 {
		weight += fmt.Sprintf(" (set by people; the agent says %d)", a.Said.Weight)
	}
	s.line("Weight", weight)
	s.line("Max jobs", maxJobsText(&a.AgentStatus))
	s.lines(fmt.Sprintf("Jobs (%d)", a.Jobs), jobs)
	var texts []string
	for i := range runs {
		texts = append(texts, fmt.Sprintf("%s  %s, began %s", runs[i].ID, runs[i].Job, ago(now, runs[i].StartedAt)))
	}
	s.lines(fmt.Sprintf("Running (%d)", a.Running), texts)
	if f := a.Figures; f != nil {
		s.line("CPU", fmt.Sprintf("%s of %s", percent(f.CPU), count(f.CPUs, "CPU")))
		s.line("Load", fmt.Sprintf("%.2f, %.2f, %.2f", f.Load1, f.Load5, f.Load15))
		s.line("Memory", used(f.MemoryTotal, f.MemoryAvailable))
		s.line("Disk", used(f.DiskTotal, f.DiskAvailable)+", where "+f.DiskDir+" is")
		s.line("Booted", instant(now, f.At.Add(-time.Duration(f.Uptime)*time.Second).Truncate(time.Second)))
	}
	return s.flush()
}

// cordonText says since when an agent gets no more jobs, by whom and why; "" if it does.
func cordonText(now time.Time, cordon *crony.Cordon) string {
	if cordon == nil {
		return ""
	}
	text := "since " + instant(now, cordon.At)
	if cordon.By != "" {
		text += " by " + cordon.By
	}
	if cordon.Drain {
		text += ", its jobs go elsewhere"
	}
	if cordon.Reason != "" {
		text += ": " + cordon.Reason
	}
	return text
}

// labelTexts writes each label that counts, and where it is from.
func labelTexts(a *crony.AgentStatus) []string {
	var texts []string
	for _, key := range slices.Sorted(maps.Keys(a.Labels)) {
		text := pairs(map[string]string{key: a.Labels[key]})
		said, says := a.Said.Labels[key]
		switch _, set := a.Set.Labels[key]; {
		case set && says:
			text += fmt.Sprintf(" (set by people; the agent says %s)", pairs(map[string]string{key: said}))
		case set:
			text += " (set by people)"
		}
		texts = append(texts, text)
	}
	return texts
}

// hostPolls is how many times rarer than anything else a host that is watched is asked for: every two seconds.
const hostPolls = 8

// watchHost prints how a host is until ctx is done, a line for each look.
func (c *cli) watchHost(ctx context.Context, client *sdk.Client, name string) error {
	if err := c.tableOnly("watching a host"); err != nil {
		return err
	}
	const line = "%-9s %5s %6s %22s %22s\n"
	if err := c.write(fmt.Appendf(nil, line, "TIME", "CPU", "LOAD", "MEMORY", "DISK")); err != nil {
		return err
	}
	for {
		f, err := client.AgentFigures(ctx, name)
		if err != nil {
			return err
		}
		if err := c.write(fmt.Appendf(nil, line, f.At.UTC().Format(time.TimeOnly), percent(f.CPU), fmt.Sprintf("%.2f", f.Load1),
			used(f.MemoryTotal, f.MemoryAvailable), used(f.DiskTotal, f.DiskAvailable))); err != nil {
			return err
		}
		if err := pause(ctx, hostPolls*c.poll); err != nil {
			return err
		}
	}
}

func percent(share float64) string { return fmt.Sprintf("%.0f%%", 100*share) }

// used says how much of a whole is not available.
func used(total, available int64) string {
	return bytesText(total-available) + " of " + bytesText(total)
}

// jobNamesOf returns the names of the first jobs that an agent has, and how many more there are.
func jobNamesOf(ctx context.Context, client *sdk.Client, a *crony.AgentStatus) ([]string, error) {
	page, err := client.ListJobs(ctx, crony.JobQuery{Agent: a.ID, Limit: namesShown})
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range page.Items {
		names = append(names, page.Items[i].Job.Name)
	}
	if more := a.Jobs - len(names); more > 0 && page.Next != "" {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return names, nil
}

// maxJobsText says how many jobs an agent may have for it to be given another; "" if it may have any number.
func maxJobsText(a *crony.AgentStatus) string {
	switch {
	case a.MaxJobs == 0:
		return ""
	case a.Set.MaxJobs == 0:
		return strconv.Itoa(a.MaxJobs)
	case a.Said.MaxJobs == 0:
		return fmt.Sprintf("%d (set by people; the agent says none)", a.MaxJobs)
	}
	return fmt.Sprintf("%d (set by people; the agent says %d)", a.MaxJobs, a.Said.MaxJobs)
}

// jobsOfAgent says how many jobs an agent has, and of how many if there is a bound.
func jobsOfAgent(a *crony.AgentStatus) string {
	if a.MaxJobs == 0 {
		return strconv.Itoa(a.Jobs)
	}
	return fmt.Sprintf("%d of %d", a.Jobs, a.MaxJobs)
}
