package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

func (c *cli) jobCmd() *cobra.Command {
	return noun("job", "Define jobs, look at them, stop and resume them", "",
		c.jobApplyCmd(), c.jobListCmd(), c.jobShowCmd(), c.jobLedgerCmd(), c.jobHistoryCmd(), c.jobDeleteCmd(), c.jobPauseCmd(true),
		c.jobPauseCmd(false))
}

func (c *cli) jobApplyCmd() *cobra.Command {
	var file string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Define everything in a manifest, or nothing",
		Long: `Apply defines everything in a manifest, which is YAML or JSON. If anything in it is wrong, nothing is done, and each
fault is told on a line of its own: FILE:LINE: KEY: what is wrong (what to do).

What stands as the manifest says already is left alone.`,
		Example: "  crony job apply -f jobs.yaml\n  crony job show hello -o yaml | crony job apply -f - --dry-run",
		Args:    cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			return c.jobApply(ctx, file, dryRun)
		}),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the manifest's `FILE`; - is the standard input")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	_ = cmd.MarkFlagRequired("file") // it fails for a flag that is not defined
	return cmd
}

func (c *cli) jobApply(ctx context.Context, file string, dryRun bool) error {
	manifest, name, err := c.readManifest(file)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	applied, err := client.Apply(ctx, manifest, dryRun)
	if crony.CodeOf(err) == crony.Invalid {
		return &fileError{name, err}
	}
	if err != nil {
		return err
	}
	if dryRun && c.format == asTable {
		fmt.Fprintln(c.stderr, "crony: a dry run: nothing was changed")
	}
	return list(c, []column[crony.Applied]{
		{"NAME", appliedName(applied)},
		{"ACTION", func(a crony.Applied) string { return string(a.Action) }},
		{"GENERATION", func(a crony.Applied) string { return nonzero(a.Generation) }},
	}, each(applied))
}

// appliedName returns what to call each of what was defined: by its name alone if all are jobs.
func appliedName(applied []crony.Applied) func(crony.Applied) string {
	if !slices.ContainsFunc(applied, func(a crony.Applied) bool { return a.Kind != crony.KindJob }) {
		return func(a crony.Applied) string { return a.Name }
	}
	return func(a crony.Applied) string { return string(a.Kind) + "/" + a.Name }
}

// readManifest reads a file, or the standard input, and says what to call it.
func (c *cli) readManifest(file string) (manifest []byte, name string, err error) {
	if file == "-" {
		manifest, err = readDocument("stdin", c.stdin)
		return manifest, "stdin", err
	}
	manifest, err = readFile(file)
	return manifest, file, err
}

func (c *cli) jobListCmd() *cobra.Command {
	var q crony.JobQuery
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs by name",
		Args:  cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error {
			return c.jobList(ctx, q)
		}),
	}
	cmd.Flags().StringVarP(&q.Search, "search", "q", "", "only jobs with `TEXT` in their name or title, in any case")
	cmd.Flags().StringVar(&q.Group, "group", "", "only jobs of this `GROUP`")
	cmd.Flags().IntVar(&q.Limit, "limit", 0, "at most `N` jobs; 0 is all")
	return cmd
}

func (c *cli) jobList(ctx context.Context, q crony.JobQuery) error {
	if err := checkLimit(q.Limit); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	agents, err := c.agentNames(ctx, client)
	if err != nil {
		return err
	}
	now := c.now()
	return list(c, []column[crony.JobStatus]{
		{"NAME", func(j crony.JobStatus) string { return j.Job.Name }},
		{"GROUP", func(j crony.JobStatus) string { return j.Job.InGroup() }},
		{"STATE", func(j crony.JobStatus) string { return jobState(&j) }},
		{"SCHEDULE", func(j crony.JobStatus) string { return short(schedules(&j.Job), 40) }},
		{"NEXT", func(j crony.JobStatus) string { return ago(now, j.NextAt) }},
		{"LAST RUN", func(j crony.JobStatus) string { return lastRun(now, &j) }},
		{"AGENT", func(j crony.JobStatus) string { return agents.of(&j) }},
	}, jobsOf(ctx, client, q))
}

// jobsOf yields all jobs that q selects, page by page; its limit is of all pages together.
func jobsOf(ctx context.Context, jobs crony.Jobs, q crony.JobQuery) iter.Seq2[crony.JobStatus, error] {
	return pages(q.Limit, func(cursor string, size int) ([]crony.JobStatus, string, error) {
		q.Cursor, q.Limit = cursor, size
		page, err := jobs.ListJobs(ctx, q)
		return page.Items, page.Next, err
	})
}

func (c *cli) jobShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show one job",
		Long: `Show tells what a job is, where it stands and how it last went.

With -o yaml it gives back the manifest that defines the job, as it was applied; with -o json the definition and its status.`,
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			status, err := client.Job(ctx, args[0])
			switch {
			case err != nil:
				return err
			case c.format == asYAML:
				return c.document(crony.Manifest{Jobs: []crony.Job{status.Job}})
			case c.format == asJSON:
				return c.document(status)
			}
			agents, err := c.agentNames(ctx, client)
			if err != nil {
				return err
			}
			return c.jobSheet(&status, agents)
		}),
	}
	c.completeNames(cmd, false, jobNames)
	return cmd
}

func (c *cli) jobDeleteCmd() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Remove jobs; their runs stay",
		Long: `Delete removes jobs' definitions. What they have run, and its output, stays.

On a terminal it asks first. Without one it does nothing unless --yes is given. It stops at the first job that it cannot delete.`,
		Args: cobra.MinimumNArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			return c.jobDelete(ctx, args, yes)
		}),
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	c.completeNames(cmd, true, jobNames)
	return cmd
}

func (c *cli) jobDelete(ctx context.Context, names []string, yes bool) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if err := c.confirm(ctx, "Delete "+strings.Join(names, ", ")+"?", yes); err != nil {
		return err
	}
	return list(c, deletedColumns(), one(names, func(name string) (deleted, error) {
		return deleted{name, "deleted"}, client.DeleteJob(ctx, name)
	}))
}

// deleted says what was done to something that was to be removed.
type deleted struct {
	Name   string `json:"name"`
	Action string `json:"action"`
}

func deletedColumns() []column[deleted] {
	return []column[deleted]{
		{"NAME", func(d deleted) string { return d.Name }},
		{"ACTION", func(d deleted) string { return d.Action }},
	}
}

// confirm asks a person, unless the answer is given already. It is an error if it is no, or if nobody can be asked.
func (c *cli) confirm(ctx context.Context, question string, yes bool) error {
	switch {
	case yes:
		return nil
	case !c.terminal:
		return crony.Errorf(crony.Invalid, "nobody is there to confirm it: the standard input is not a terminal").
			WithHint("give --yes")
	}
	fmt.Fprint(c.stderr, clean(question)+" [y/N] ")
	answer := make(chan string, 1)
	go func() { // left behind if ctx ends first: a read of a terminal cannot be called off, and the process ends then
		line, _ := bufio.NewReader(c.stdin).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case a := <-answer:
		if a != "y" && a != "yes" {
			return errors.New("nothing was done")
		}
	}
	return nil
}

func (c *cli) jobPauseCmd(pause bool) *cobra.Command {
	cmd := &cobra.Command{Use: "pause NAME...", Short: "Stop jobs' schedules", Args: cobra.MinimumNArgs(1),
		Long: "Pause stops jobs' schedules. What runs goes on, and `crony run start` works as ever."}
	if !pause {
		cmd.Use, cmd.Short = "resume NAME...", "Let jobs' schedules go on from now"
		cmd.Long = "Resume lets jobs' schedules go on from now. What came due while they were paused is not made up for."
	}
	cmd.RunE = work(func(ctx context.Context, args []string) error {
		client, err := c.client()
		if err != nil {
			return err
		}
		now := c.now()
		return list(c, []column[crony.JobStatus]{
			{"NAME", func(j crony.JobStatus) string { return j.Job.Name }},
			{"STATE", func(j crony.JobStatus) string { return jobState(&j) }},
			{"NEXT", func(j crony.JobStatus) string { return ago(now, j.NextAt) }},
		}, one(args, func(name string) (crony.JobStatus, error) {
			return client.PauseJob(ctx, name, pause)
		}))
	})
	c.completeNames(cmd, true, jobNames)
	return cmd
}

// one yields what f makes of each name, up to the first error.
func one[T any](names []string, f func(name string) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, name := range names {
			item, err := f(name)
			if !yield(item, err) || err != nil {
				return
			}
		}
	}
}

// agentNames says what to call the agents in tables; other forms show ids, and nobody is asked.
type agentNames map[string]string

func (c *cli) agentNames(ctx context.Context, client *sdk.Client) (agentNames, error) {
	if c.format != asTable {
		return nil, nil
	}
	agents, err := client.ListAgents(ctx)
	if err != nil {
		return nil, err
	}
	names := make(agentNames, len(agents))
	for i := range agents {
		names[agents[i].ID] = agents[i].Name
	}
	return names, nil
}

// name returns an agent's name, or the id of one that was removed.
func (n agentNames) name(id string) string {
	if name, ok := n[id]; ok {
		return name
	}
	return id
}

// of returns the names of the agents that have a job: the first few, and how many more there are.
func (n agentNames) of(j *crony.JobStatus) string {
	names := make([]string, 0, crony.ListedAssignments)
	for _, a := range j.Assignments[:min(len(j.Assignments), crony.ListedAssignments)] {
		names = append(names, n.name(a.Agent))
	}
	text := strings.Join(names, ", ")
	if more := j.Assigned - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
