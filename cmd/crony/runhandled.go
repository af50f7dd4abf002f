package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) runHandledCmd() *cobra.Command {
	var note string
	cmd := &cobra.Command{
		Use:   "handled ID",
		Short: "Mark a run's result as handled",
		Long: `Handled marks the result of a run as handled, by you and now, if its job asks for that with handle_results. It is done
once: whoever comes later is told who has done it and when, and the exit code is not 0.`,
		Example: "  crony run list --to-handle\n  crony run handled 01KAZ3XHM0T6J5W8Q2B7N4C9DE --note 'booked'",
		Args:    cobra.ExactArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			return c.runHandled(ctx, args[0], note)
		}),
	}
	cmd.Flags().StringVar(&note, "note", "", "what was done, in a few `WORDS`")
	return cmd
}

func (c *cli) runHandled(ctx context.Context, arg, note string) error {
	id, err := crony.ParseRunID(arg)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	handled, err := client.HandleRun(ctx, id, crony.HandleOptions{Note: note})
	if err != nil {
		return err
	}
	if c.format != asTable {
		return c.document(handled)
	}
	return c.write(fmt.Appendf(nil, "%s is %s\n", id, clean(handled.Words())))
}

// resultLines adds what a run gave back, and what became of it.
func resultLines(s *sheet, now time.Time, r *crony.Run) {
	if len(r.Result) > 0 {
		var text bytes.Buffer
		if err := json.Indent(&text, r.Result, "", "  "); err != nil {
			text.Reset()
			text.Write(r.Result)
		}
		s.lines("Result", strings.Split(text.String(), "\n"))
	}
	switch h := r.Handled; {
	case h != nil:
		s.line("Handled", "by "+h.By+", "+instant(now, h.At))
		s.line("Note", h.Note)
	case r.ToHandle:
		s.line("Handled", "not yet")
	}
}

// stateOf is a run's state, and that somebody is to handle what it gave back.
func stateOf(r *crony.Run) string {
	if r.ToHandle {
		return string(r.State) + ", to handle"
	}
	return string(r.State)
}
