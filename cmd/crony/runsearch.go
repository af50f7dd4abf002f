package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
)

// runSearch is what `run search` is told.
type runSearch struct {
	runFilter
	text    string
	regexp  bool
	context int
	limit   int
}

func (c *cli) runSearchCmd() *cobra.Command {
	var s runSearch
	cmd := &cobra.Command{
		Use:   "search TEXT",
		Short: "Find lines in the kept output of runs",
		Long: `Search looks for a text in what is kept of the output of runs, the newest run first, and prints each line that has it
as it is found:

  JOB RUN STREAM:OFFSET: LINE

OFFSET is where the line begins in all that the run wrote to the stream. A long line is cut around the text. All output is
looked through that the filters leave, which can take long: --job and --since make it short.

The exit code is 0 if anything was found and 1 if not.

` + timesHelp,
		Example: "  crony run search 'connection refused' --since -24h\n" +
			"  crony run search --regexp 'took [0-9]{4,}ms' --job nightly-report --context 2",
		Args: cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			s.text = args[0]
			return c.runSearch(ctx, s)
		}),
	}
	s.flags(cmd)
	flags := cmd.Flags()
	flags.BoolVarP(&s.regexp, "regexp", "E", false, "TEXT is a regular expression (RE2), matched line by line")
	flags.IntVarP(&s.context, "context", "C", 0, fmt.Sprintf("print `N` lines before and after, too; at most %d", crony.MaxContext))
	flags.IntVar(&s.limit, "limit", 0, "stop after `N` lines; 0 is all")
	return cmd
}

func (c *cli) runSearch(ctx context.Context, s runSearch) error {
	if err := s.read(c); err != nil {
		return err
	}
	if err := checkLimit(s.limit); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if err := s.find(ctx, client); err != nil {
		return err
	}
	q := crony.OutputQuery{Runs: s.query, Text: s.text, Context: s.context}
	if s.regexp {
		q.Text, q.Pattern = "", s.text
	}
	found := 0
	hits := func(yield func(crony.OutputHit, error) bool) {
		for hit, err := range c.hitsOf(ctx, client, q, s.limit) {
			if err == nil {
				found++
				c.progress("")
			}
			if !yield(hit, err) {
				return
			}
		}
	}
	defer c.progress("")
	if c.format == asTable {
		err = c.printHits(hits, s.context > 0)
	} else {
		err = list(c, nil, hits)
	}
	if err == nil && found == 0 {
		return jobExit(exitFailed)
	}
	return err
}

// hitsOf yields all hits, at most limit of them (0: all), page by page, and tells a person how far it has come.
func (c *cli) hitsOf(
	ctx context.Context, outputs crony.OutputSearch, q crony.OutputQuery, limit int,
) iter.Seq2[crony.OutputHit, error] {
	var bytes int64
	return pages(limit, func(cursor string, size int) (items []crony.OutputHit, next string, err error) {
		q.Cursor, q.Limit = cursor, size
		err = c.patiently(ctx, cursor != "", func() error {
			page, err := outputs.SearchOutput(ctx, q)
			if items, next = page.Items, page.Next; err == nil {
				bytes += page.Bytes
				c.progress(fmt.Sprintf("looked at %s of output%s", bytesText(bytes), backTo(page.Reached)))
			}
			return err
		})
		return items, next, err
	})
}

func backTo(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return ", back to " + t.UTC().Format("2006-01-02 15:04")
}

// patiently calls f until it succeeds or, while what it was given before is worth it, for as long as a server that was there
// may be away.
func (c *cli) patiently(ctx context.Context, worth bool, f func() error) error {
	for began := c.now(); ; {
		err := f()
		if !worth || crony.CodeOf(err) != crony.Unavailable || c.now().Sub(began) >= c.patience {
			return err
		}
		if err := pause(ctx, c.poll); err != nil {
			return err
		}
	}
}

// printHits prints hits as they are found, and a line between them if they have others around them.
func (c *cli) printHits(hits iter.Seq2[crony.OutputHit, error], apart bool) error {
	between := ""
	for hit, err := range hits {
		if err != nil {
			return err
		}
		if _, err := io.WriteString(c.stdout, between+c.hitText(&hit)); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		if apart {
			between = "--\n"
		}
	}
	return nil
}

func (c *cli) hitText(h *crony.OutputHit) string {
	head := fmt.Sprintf("%s %s %s", clean(h.Job), h.Run, h.Stream)
	text := ""
	for _, line := range h.Before {
		text += head + "- " + c.shownLine(line) + "\n"
	}
	text += fmt.Sprintf("%s:%d: %s\n", head, h.Offset, c.shownLine(h.Line))
	for _, line := range h.After {
		text += head + "- " + c.shownLine(line) + "\n"
	}
	return text
}

// shownLine is a line of output as it is printed: on a terminal without what that would obey, else as it is.
func (c *cli) shownLine(line string) string {
	if !c.shown {
		return line
	}
	var s screen
	return strings.TrimSuffix(string(s.end(s.render(nil, "", []byte(line)))), "\n")
}
