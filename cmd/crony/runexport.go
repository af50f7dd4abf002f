package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/spf13/cobra"

	"crony"
	"crony/sdk"
)

// runExport is what `run export` is told.
type runExport struct {
	runFilter
	target     wholeFile
	limit      int
	withOutput bool
}

func (c *cli) runExportCmd() *cobra.Command {
	var e runExport
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write runs as JSON lines, the newest first",
		Long: `Export writes runs as JSON, each on a line of its own, the newest first: all that the filters leave, as they stand when
they are read. It takes no more memory for millions than for one. At its end it says on stderr how many there were.

With --file they are written to FILE.partial, which gets its name when all of them are on the disk: FILE is whole, or is not
there. On the standard output, they are all only if the exit code is 0.

` + timesHelp,
		Example: "  crony run export --since 2027-01-01 --until 2027-02-01 --file january.jsonl\n" +
			"  crony run export --state failed --with-output | jq -r .output",
		Args: cobra.NoArgs,
		RunE: work(func(ctx context.Context, _ []string) error { return c.runExport(ctx, e) }),
	}
	e.flags(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&e.target.file, "file", "f", "", "write into this `FILE`")
	flags.BoolVar(&e.target.force, "force", false, "replace the file that is there")
	flags.IntVar(&e.limit, "limit", 0, "at most `N` runs; 0 is all")
	flags.BoolVar(&e.withOutput, "with-output", false, "add to each run the text of its kept output, as \"output\"")
	return cmd
}

func (c *cli) runExport(ctx context.Context, e runExport) error {
	if c.format == asYAML {
		return crony.Errorf(crony.Invalid, "an export has no form in yaml").WithHint("leave out -o")
	}
	if err := e.read(c); err != nil {
		return err
	}
	if err := checkLimit(e.limit); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if err := e.find(ctx, client); err != nil {
		return err
	}
	e.query.Limit = e.limit
	n := int64(0)
	write := func(w io.Writer) error { return c.exportRuns(ctx, client, &e, w, &n) }
	if e.target.file == "" {
		err = write(c.stdout)
	} else {
		err = e.target.write(write)
	}
	c.progress("")
	if err == nil {
		fmt.Fprintf(c.stderr, "crony: %s\n", plural(n, "run"))
	}
	return err
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// exportRuns writes the runs to w and counts them in n.
func (c *cli) exportRuns(ctx context.Context, client *sdk.Client, e *runExport, w io.Writer, n *int64) error {
	out := bufio.NewWriterSize(w, 64<<10)
	lines := json.NewEncoder(out)
	lines.SetEscapeHTML(false)
	for run, err := range c.patientRuns(ctx, client, e.query) {
		if err != nil {
			return err
		}
		var line any = run
		if e.withOutput {
			if line, err = c.withItsOutput(ctx, client, run); err != nil {
				return err
			}
		}
		if err := lines.Encode(line); err != nil {
			return fmt.Errorf("write the runs: %w", err)
		}
		if *n++; *n%pageSize == 0 {
			c.progress(fmt.Sprintf("%d runs%s", *n, backTo(run.ScheduledAt)))
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write the runs: %w", err)
	}
	return nil
}

// patientRuns yields all runs that q selects, and bears with a server that is away for a while.
func (c *cli) patientRuns(ctx context.Context, runs crony.Runs, q crony.RunQuery) iter.Seq2[crony.Run, error] {
	return pages(q.Limit, func(cursor string, size int) (items []crony.Run, next string, err error) {
		q.Cursor, q.Limit = cursor, size
		err = c.patiently(ctx, cursor != "", func() error {
			page, err := runs.ListRuns(ctx, q)
			items, next = page.Items, page.Next
			return err
		})
		return items, next, err
	})
}

func (c *cli) withItsOutput(ctx context.Context, runs crony.Runs, run crony.Run) (line runWithOutput, err error) {
	line.Run = run
	err = c.patiently(ctx, true, func() (err error) {
		line.Output, err = outputText(ctx, runs, run.ID)
		return err
	})
	return line, err
}
