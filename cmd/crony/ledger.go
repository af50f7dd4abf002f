package main

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) jobLedgerCmd() *cobra.Command {
	var s span
	var limit int
	var agent string
	cmd := &cobra.Command{
		Use:   "ledger JOB",
		Short: "List what became of a job's occurrences, the earliest first",
		Long: `Ledger prints what became of each time at which a job was due: it ran, was skipped, was missed or is lost, or it is not
decided yet. Those in a row that did not run and ended alike are one line. A table has at most ` + strconv.Itoa(tableLimit) + `
lines unless --limit is given.

` + timesHelp,
		Example: "  crony job ledger nightly-report --from 2027-01-01 --to 2027-01-31 --tz Europe/Berlin",
		Args:    cobra.ExactArgs(1),
	}
	cmd.RunE = work(func(ctx context.Context, args []string) error {
		from, to, err := s.read(c)
		if err != nil {
			return err
		}
		q := crony.LedgerQuery{Job: args[0], From: from, To: to, Limit: limit}
		return c.jobLedger(ctx, q, agent, cmd.Flags().Changed("limit"))
	})
	ownFlag(cmd, &agent)
	s.flags(cmd, "only what was due")
	cmd.Flags().IntVar(&limit, "limit", 0,
		"at most `N` lines; 0 is all (default: "+strconv.Itoa(tableLimit)+" in a table, else all)")
	c.completeNames(cmd, false, jobNames)
	return cmd
}

func (c *cli) jobLedger(ctx context.Context, q crony.LedgerQuery, agent string, limitGiven bool) error {
	if err := checkLimit(q.Limit); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if q.Agent, err = agentID(ctx, client, agent); err != nil {
		return err
	}
	agents, err := c.agentNames(ctx, client)
	if err != nil {
		return err
	}
	columns := []column[crony.LedgerEntry]{
		{"FROM", func(e crony.LedgerEntry) string { return e.From.UTC().Format(time.RFC3339Nano) }},
		{"TO", lastOf},
		{"COUNT", func(e crony.LedgerEntry) string { return strconv.FormatInt(e.Count, 10) }},
		{"END", func(e crony.LedgerEntry) string { return string(e.End) }},
		{"REASON", func(e crony.LedgerEntry) string { return e.Reason }},
		{"AGENT", func(e crony.LedgerEntry) string { return agents.name(e.Agent) }},
		{"RUN", func(e crony.LedgerEntry) string { return string(e.Run) }},
	}
	if c.format != asTable || limitGiven {
		return list(c, columns, ledgerOf(ctx, client, q))
	}
	more := false
	q.Limit = tableLimit + 1 // one more than is shown tells whether there are more
	if err := list(c, columns, first(tableLimit, ledgerOf(ctx, client, q), &more)); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(c.stderr, "crony: these are the earliest %d; --limit 0 prints all\n", tableLimit)
	}
	return nil
}

// lastOf is the last of an entry's occurrences; "" if it has but one.
func lastOf(e crony.LedgerEntry) string {
	if e.To.Equal(e.From) {
		return ""
	}
	return e.To.UTC().Format(time.RFC3339Nano)
}

// ledgerOf yields all entries that q selects, page by page; its limit is of all pages together.
func ledgerOf(ctx context.Context, ledger crony.Ledger, q crony.LedgerQuery) iter.Seq2[crony.LedgerEntry, error] {
	return pages(q.Limit, func(cursor string, size int) ([]crony.LedgerEntry, string, error) {
		q.Cursor, q.Limit = cursor, size
		page, err := ledger.ListLedger(ctx, q)
		return page.Items, page.Next, err
	})
}
