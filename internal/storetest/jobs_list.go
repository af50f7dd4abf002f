package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"crony"
)

// all returns the jobs of every page of q, each as "name note generation".
func (t *jobsTest) all(ctx context.Context, q crony.JobQuery) (lines []string) {
	t.Helper()
	for pages := 0; ; pages++ {
		p, err := t.store.ListJobs(ctx, q)
		if err != nil {
			t.Fatalf("list %+v: %v", q, err)
		}
		if limit, _ := crony.PageLimit(q.Limit); len(p.Items) > limit || p.Next != "" && len(p.Items) == 0 {
			t.Fatalf("list %+v: %d jobs on a page, next %q", q, len(p.Items), p.Next)
		}
		for _, j := range p.Items {
			lines = append(lines, fmt.Sprintf("%s %s %d", j.Job.Name, j.Job.Note, j.Generation))
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			return lines
		}
		if pages > 10_000 {
			t.Fatalf("list %+v: the pages do not end", q)
		}
	}
}

// populate defines n jobs and returns them as [jobsTest.all] shows them.
func (t *jobsTest) populate(ctx context.Context, n int) (lines []string) {
	t.Helper()
	var jobs []crony.Job
	for i := range n {
		jobs = append(jobs, Job(fmt.Sprintf("job-%d", i), "x"))
		lines = append(lines, jobs[i].Name+" x 1")
	}
	for part := range slices.Chunk(jobs, 100) {
		t.apply(ctx, crony.ApplyOptions{}, part...)
	}
	slices.SortFunc(lines, strings.Compare)
	return lines
}

func (t *jobsTest) pages(ctx context.Context) {
	p, err := t.store.ListJobs(ctx, crony.JobQuery{})
	if err != nil || p.Items == nil || len(p.Items) != 0 || p.Next != "" {
		t.Errorf("an empty store lists %+v, %v; want an empty page", p, err)
	}
	const n = crony.DefaultLimit + 1
	want := t.populate(ctx, n)
	for _, limit := range []int{0, 1, 7, n - 1, n, n + 1, crony.MaxLimit} {
		t.want(fmt.Sprintf("by %d", limit), t.all(ctx, crony.JobQuery{Limit: limit}), want...)
	}
	p, err = t.store.ListJobs(ctx, crony.JobQuery{})
	if err != nil || len(p.Items) != crony.DefaultLimit || p.Next == "" {
		t.Errorf("without a limit: %d jobs, next %q, %v; want %d and a next", len(p.Items), p.Next, err, crony.DefaultLimit)
	}
	if p, err = t.store.ListJobs(ctx, crony.JobQuery{Limit: n}); err != nil || p.Next != "" {
		t.Errorf("a page that holds all: next %q, %v", p.Next, err)
	}
}

// pagesWhileJobsChange deletes the job that each page ends with, and puts one before it: the others are listed once.
func (t *jobsTest) pagesWhileJobsChange(ctx context.Context) {
	want := t.populate(ctx, 20)
	q, got := crony.JobQuery{Limit: 3}, []string(nil)
	for {
		p, err := t.store.ListJobs(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range p.Items {
			got = append(got, j.Job.Name+" x 1")
		}
		if q.Cursor = p.Next; q.Cursor == "" {
			break
		}
		if err := t.store.DeleteJob(ctx, p.Items[len(p.Items)-1].Job.Name); err != nil {
			t.Fatal(err)
		}
		t.apply(ctx, crony.ApplyOptions{}, Job("a-"+p.Items[0].Job.Name, "late"))
	}
	t.want("jobs that were there when the first page was read", got, want...)
}

func (t *jobsTest) search(ctx context.Context) {
	backup, clean, mail := Job("backup-db", "1"), Job("clean-db", "1"), Job("mail", "1")
	backup.Title, backup.Group = "Nightly Ärger", "ops"
	clean.Title, clean.Group = "räumt auf", "ops"
	mail.Title = "Mail DB admins"
	t.apply(ctx, crony.ApplyOptions{}, mail, clean, backup)
	const b, c, m = "backup-db 1 1", "clean-db 1 1", "mail 1 1"
	for _, test := range []struct {
		q    crony.JobQuery
		want []string
	}{
		{crony.JobQuery{Search: "backup"}, []string{b}},
		{crony.JobQuery{Search: "DB"}, []string{b, c, m}},
		{crony.JobQuery{Search: "db", Limit: 1}, []string{b, c, m}},
		{crony.JobQuery{Search: "db", Group: "ops"}, []string{b, c}},
		{crony.JobQuery{Search: "ÄR"}, []string{b}},
		{crony.JobQuery{Search: "mail db"}, []string{m}},
		{crony.JobQuery{Group: crony.DefaultGroup}, []string{m}},
		{crony.JobQuery{Group: "ops", Limit: 1}, []string{b, c}},
		{crony.JobQuery{Group: "op"}, nil},
		{crony.JobQuery{Agent: "nobody"}, nil},
		{crony.JobQuery{Search: "nothing"}, nil},
		{crony.JobQuery{Search: ".*"}, nil},
	} {
		t.want(fmt.Sprintf("%+v", test.q), t.all(ctx, test.q), test.want...)
	}
}

func (t *jobsTest) wrongQueries(ctx context.Context) {
	for _, limit := range []int{-1, crony.MaxLimit + 1} {
		_, err := t.store.ListJobs(ctx, crony.JobQuery{Limit: limit})
		t.refused(fmt.Sprintf("limit %d", limit), err, crony.Invalid, false)
	}
}
