package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"crony"
)

func (c *cli) verifyCmd() *cobra.Command {
	var s span
	var agent string
	cmd := &cobra.Command{
		Use:   "verify [JOB]",
		Short: "Check that the ledger accounts for every time at which jobs were due",
		Long: `Verify has the server compute anew, from the definitions of the time, when a job was due, and holds what is recorded
against that. Without JOB it does so for every job. What does not agree is a fault, and each is listed:

  gap     a time at which the job was due, and of which nothing is recorded
  double  a time that has two runs
  stray   something recorded of a time at which the job was not due

Of a time that was long ago it can be that the definitions are not kept; then it begins with those that are, and says so.

` + timesHelp + `

The exit code is 0 if there is no fault and 1 if there is one.`,
		Example: "  crony verify\n  crony verify nightly-report --from 2027-01-01 --to 2027-02-01",
		Args:    cobra.MaximumNArgs(1),
		RunE: work(func(ctx context.Context, args []string) error {
			from, to, err := s.read(c)
			if err != nil {
				return err
			}
			q := crony.VerifyQuery{From: from, To: to}
			if len(args) > 0 {
				q.Job = args[0]
			}
			return c.verify(ctx, q, agent)
		}),
	}
	ownFlag(cmd, &agent)
	s.flags(cmd, "what was due")
	c.completeNames(cmd, false, jobNames)
	return cmd
}

// verify prints a line for each job and then the faults. What it found out before an error is printed all the same.
func (c *cli) verify(ctx context.Context, q crony.VerifyQuery, agent string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if q.Agent, err = agentID(ctx, client, agent); err != nil {
		return err
	}
	names := each([]string{q.Job})
	if q.Job == "" {
		names = namesOfAll(ctx, client)
	}
	var found findings
	defer c.progress("")
	err = list(c, verifyColumns(), found.noted(c.verified(ctx, client, names, q)))
	if err := errors.Join(err, c.listFaults(&found)); err != nil {
		return err
	}
	if found.faulty > 0 {
		return fmt.Errorf("faults in the ledger: %d, in %d of %d jobs", found.faulty, found.faultyJobs, found.jobs)
	}
	return nil
}

func namesOfAll(ctx context.Context, jobs crony.Jobs) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for j, err := range jobsOf(ctx, jobs, crony.JobQuery{}) {
			if !yield(j.Job.Name, err) {
				return
			}
		}
	}
}

// verified yields the verification of each job, up to the first error.
func (c *cli) verified(
	ctx context.Context, ledger crony.Ledger, jobs iter.Seq2[string, error], q crony.VerifyQuery,
) iter.Seq2[crony.Verification, error] {
	return func(yield func(crony.Verification, error) bool) {
		for job, err := range jobs {
			var v crony.Verification
			if err == nil {
				q.Job = job
				v, err = c.verifyWhole(ctx, ledger, q)
			}
			c.progress("")
			if err == nil && v.From.After(q.From) && !q.From.IsZero() {
				c.complain(fmt.Sprintf("%s is verified from %s on: no definition of before is kept", job,
					v.From.UTC().Format(time.RFC3339Nano)), "")
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// verifyWhole goes on where a verification stopped early, until there is nothing left of what q asks for.
func (c *cli) verifyWhole(ctx context.Context, ledger crony.Ledger, q crony.VerifyQuery) (crony.Verification, error) {
	c.progress("verifying " + q.Job)
	whole, err := ledger.VerifyLedger(ctx, q)
	for err == nil && !whole.Complete {
		if !whole.To.After(q.From) {
			return whole, crony.Errorf(crony.Internal, "the verification of %s does not get beyond %s", q.Job,
				whole.To.UTC().Format(time.RFC3339Nano))
		}
		c.progress(fmt.Sprintf("verifying %s: %s", q.Job, instant(c.now(), whole.To)))
		q.From = whole.To.Add(1) // both ends of what is asked for belong to it
		var part crony.Verification
		part, err = ledger.VerifyLedger(ctx, q)
		whole = joined(whole, part)
	}
	return whole, err
}

// joined is the verification of two times that follow one another.
func joined(a, b crony.Verification) crony.Verification {
	a.To, a.Complete = b.To, b.Complete
	a.Expected += b.Expected
	a.Faulty += b.Faulty
	ends := make(map[crony.End]int64, len(a.Ends))
	for _, part := range []map[crony.End]int64{a.Ends, b.Ends} {
		for end, n := range part {
			ends[end] += n
		}
	}
	a.Ends = ends
	a.Faults = append(a.Faults[:len(a.Faults):len(a.Faults)], b.Faults...)
	a.Faults = a.Faults[:min(len(a.Faults), crony.MaxFaults)]
	return a
}

func verifyColumns() []column[crony.Verification] {
	ended := func(head string, end crony.End) column[crony.Verification] {
		return column[crony.Verification]{head, func(v crony.Verification) string { return strconv.FormatInt(v.Ends[end], 10) }}
	}
	return []column[crony.Verification]{
		{"JOB", func(v crony.Verification) string { return v.Job }},
		{"EXPECTED", func(v crony.Verification) string { return strconv.FormatInt(v.Expected, 10) }},
		ended("RAN", crony.EndRan),
		ended("SKIPPED", crony.EndSkipped),
		ended("MISSED", crony.EndMissed),
		ended("LOST", crony.EndLost),
		ended("OPEN", crony.EndOpen),
		ended("GAPS", crony.EndUnrecorded),
		{"DOUBLES", func(v crony.Verification) string { return faultCount(&v, crony.FaultDouble) }},
		{"STRAYS", func(v crony.Verification) string { return faultCount(&v, crony.FaultStray) }},
	}
}

// faultCount says how many faults of a kind there are. Only those that are listed can be told apart; with more than that there
// are so many at least: "7+".
func faultCount(v *crony.Verification, kind crony.FaultKind) string {
	n := 0
	for _, f := range v.Faults {
		if f.Kind == kind {
			n++
		}
	}
	if v.Faulty > int64(len(v.Faults)) {
		return strconv.Itoa(n) + "+"
	}
	return strconv.Itoa(n)
}

// findings are the faults of all jobs.
type findings struct {
	jobs, faultyJobs int
	faulty           int64
	faults           []jobFault
	cut              []crony.Verification // of jobs that have more faults than are listed
}

type jobFault struct {
	job string
	crony.LedgerFault
}

// noted passes the verifications on, and keeps what they found.
func (f *findings) noted(all iter.Seq2[crony.Verification, error]) iter.Seq2[crony.Verification, error] {
	return func(yield func(crony.Verification, error) bool) {
		for v, err := range all {
			if err == nil {
				f.note(v)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

func (f *findings) note(v crony.Verification) {
	f.jobs++
	f.faulty += v.Faulty
	if v.Faulty > 0 {
		f.faultyJobs++
	}
	if v.Faulty > int64(len(v.Faults)) {
		f.cut = append(f.cut, v)
	}
	for _, fault := range v.Faults {
		f.faults = append(f.faults, jobFault{v.Job, fault})
	}
}

// what says what is wrong, and on which agent if each has its own occurrences.
func (f *jobFault) what() string {
	if f.Agent == "" {
		return f.Text
	}
	return "on agent " + f.Agent + ": " + f.Text
}

// listFaults prints the faults below the table; the other forms hold them already.
func (c *cli) listFaults(f *findings) error {
	if c.format != asTable || len(f.faults) == 0 {
		return nil
	}
	if err := c.write([]byte("\n")); err != nil {
		return err
	}
	if err := list(c, []column[jobFault]{
		{"JOB", func(f jobFault) string { return f.job }},
		{"AT", func(f jobFault) string { return f.At.UTC().Format(time.RFC3339Nano) }},
		{"FAULT", func(f jobFault) string { return string(f.Kind) }},
		{"WHAT", func(f jobFault) string { return f.what() }},
	}, each(f.faults)); err != nil {
		return err
	}
	for _, v := range f.cut {
		c.complain(fmt.Sprintf("%s has %d faults; the first %d are listed", v.Job, v.Faulty, len(v.Faults)), "")
	}
	return nil
}

// progress says on a terminal what goes on, in a line that the next call takes away; "" only does that.
func (c *cli) progress(text string) {
	if c.watched {
		fmt.Fprint(c.stderr, "\r\x1b[K"+clean(text))
	}
}
