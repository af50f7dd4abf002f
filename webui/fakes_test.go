package webui

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"crony"
)

// noon is when everything in these tests happens.
var noon = time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)

// hearing keeps the words that a request brought to the fakes, as a store would.
type hearing struct {
	mu    sync.Mutex
	words []string
}

func (h *hearing) hear(word string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.words = append(h.words, word)
}

// fakeJobs is a store of jobs in memory.
type fakeJobs struct {
	started crony.StartOptions // the last

	mu        sync.Mutex
	jobs      map[string]crony.JobStatus
	actor     string // of the last change
	query     crony.JobQuery
	calendars []crony.Calendar // that were defined
	scripts   []crony.Script   // likewise
	err       error            // of every call, if set
	heard     *hearing
}

func (f *fakeJobs) Define(ctx context.Context, m crony.Manifest, opts crony.ApplyOptions) ([]crony.Applied, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	var applied []crony.Applied
	for _, calendar := range m.Calendars {
		f.calendars = append(f.calendars, calendar)
		applied = append(applied, crony.Applied{Kind: crony.KindCalendar, Name: calendar.Name, Action: crony.Created, Generation: 1})
	}
	for _, script := range m.Scripts {
		f.scripts = append(f.scripts, script)
		applied = append(applied, crony.Applied{Kind: crony.KindScript, Name: script.Name, Action: crony.Created})
	}
	for _, job := range m.Jobs {
		old := f.jobs[job.Name]
		if opts.IfGeneration != nil && *opts.IfGeneration != old.Generation {
			return nil, crony.Errorf(crony.Conflict, "the job %q has generation %d", job.Name, old.Generation)
		}
		action := crony.Updated
		if old.Generation == 0 {
			action = crony.Created
		}
		applied = append(applied, crony.Applied{Kind: crony.KindJob, Name: job.Name, Action: action, Generation: old.Generation + 1})
		if !opts.DryRun {
			f.actor = crony.ActorFrom(ctx)
			f.jobs[job.Name] = crony.JobStatus{Definition: crony.Definition{
				Job: job, UID: "uid-" + job.Name, Generation: old.Generation + 1, CreatedAt: noon, UpdatedAt: noon, UpdatedBy: f.actor,
			}, NextAt: noon.Add(time.Minute)}
		}
	}
	return applied, nil
}

func (f *fakeJobs) Job(_ context.Context, name string) (crony.JobStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	job, ok := f.jobs[name]
	if !ok {
		return job, cmp.Or(f.err, error(crony.Errorf(crony.NotFound, "there is no job %q", name)))
	}
	return job, f.err
}

func (f *fakeJobs) ListJobs(_ context.Context, q crony.JobQuery) (crony.JobPage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.query = q
	f.heard.hear(q.Search)
	var page crony.JobPage
	for _, name := range slices.Sorted(maps.Keys(f.jobs)) {
		page.Items = append(page.Items, f.jobs[name])
	}
	return page, f.err
}

func (f *fakeJobs) PauseJob(ctx context.Context, name string, paused bool) (crony.JobStatus, error) {
	job, err := f.Job(ctx, name)
	if err != nil {
		return job, err
	}
	job.Job.Paused = paused
	_, err = f.Define(ctx, crony.Manifest{Jobs: []crony.Job{job.Job}}, crony.ApplyOptions{})
	return job, err
}

func (f *fakeJobs) DeleteJob(ctx context.Context, name string) error {
	f.heard.hear(name)
	if _, err := f.Job(ctx, name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.actor = crony.ActorFrom(ctx)
	delete(f.jobs, name)
	return nil
}

func (f *fakeJobs) StartJob(ctx context.Context, name string, opts crony.StartOptions) ([]crony.RunID, error) {
	if _, err := f.Job(ctx, name); err != nil {
		return nil, err
	}
	f.started = opts
	return []crony.RunID{crony.NewRunID(noon)}, opts.Check()
}

// fakeRuns has one run, whose output arrives as the test sends it.
type fakeRuns struct {
	run   crony.Run
	query crony.RunQuery
	count *crony.RunCount
	kept  []crony.Chunk
	live  chan crony.Chunk // with follow, after what is kept; closed: the run has ended
	err   error            // at the end of the output

	kill crony.KillOrder // the last

	handle crony.HandleOptions // the last
}

func (f *fakeRuns) HandleRun(ctx context.Context, id crony.RunID, opts crony.HandleOptions) (crony.Handled, error) {
	run, err := f.Run(ctx, id)
	if err != nil {
		return crony.Handled{}, err
	}
	if run.Handled != nil {
		return *run.Handled, crony.Errorf(crony.Conflict, "the result is %s", run.Handled.Words())
	}
	f.handle = opts
	return crony.Handled{By: crony.ActorFrom(ctx), At: noon, Note: opts.Note}, opts.Check()
}

func (f *fakeRuns) KillRun(ctx context.Context, id crony.RunID, reason string) error {
	if _, err := f.Run(ctx, id); err != nil {
		return err
	}
	f.kill = crony.KillOrder{By: crony.ActorFrom(ctx), Reason: reason}
	return crony.CheckReason(reason)
}

func (f *fakeRuns) Run(_ context.Context, id crony.RunID) (crony.Run, error) {
	if id != f.run.ID {
		return crony.Run{}, crony.Errorf(crony.NotFound, "there is no run %s", id)
	}
	return f.run, nil
}

func (f *fakeRuns) ListRuns(_ context.Context, q crony.RunQuery) (crony.RunPage, error) {
	f.query = q
	return crony.RunPage{Items: []crony.Run{f.run}, Next: "more", Count: f.count}, nil
}

func (f *fakeRuns) Output(ctx context.Context, _ crony.RunID, follow bool) iter.Seq2[crony.Chunk, error] {
	return func(yield func(crony.Chunk, error) bool) {
		for _, chunk := range f.kept {
			if !yield(chunk, nil) {
				return
			}
		}
		for follow {
			select {
			case chunk, ok := <-f.live:
				if !ok {
					follow = false
				} else if !yield(chunk, nil) {
					return
				}
			case <-ctx.Done():
				yield(crony.Chunk{}, ctx.Err())
				return
			}
		}
		if f.err != nil {
			yield(crony.Chunk{}, f.err)
		}
	}
}

// fakeFinds answers what it is told to, and keeps what it was asked.
type fakeFinds struct {
	query   crony.OutputQuery
	page    crony.OutputPage
	job     string
	days    int
	history []crony.DayFigures
	figures crony.Overview
	err     error
}

func (f *fakeFinds) SearchOutput(_ context.Context, q crony.OutputQuery) (crony.OutputPage, error) {
	f.query = q
	return f.page, f.err
}

func (f *fakeFinds) History(_ context.Context, job string, days int) ([]crony.DayFigures, error) {
	f.job, f.days = job, days
	return f.history, f.err
}

func (f *fakeFinds) Overview(context.Context) (crony.Overview, error) { return f.figures, f.err }

type fakeAgents []crony.AgentStatus

func (f fakeAgents) ListAgents(context.Context) ([]crony.AgentStatus, error) { return f, nil }

func (f fakeAgents) Agent(_ context.Context, idOrName string) (crony.AgentStatus, error) {
	return crony.FindAgent(f, idOrName)
}

func (f fakeAgents) AgentFigures(_ context.Context, idOrName string) (crony.HostFigures, error) {
	a, err := crony.FindAgent(f, idOrName)
	if err == nil && !a.Up {
		err = crony.Errorf(crony.Unavailable, "the agent %s is not connected", a.Name)
	}
	return crony.HostFigures{CPUs: 4}, err
}

func (f fakeAgents) RebalanceAgents(context.Context) (crony.Rebalanced, error) {
	return crony.Rebalanced{Moved: len(f), Busy: 1}, nil
}

// ChangeAgent shows what would be changed, and changes nothing.
func (f fakeAgents) ChangeAgent(ctx context.Context, idOrName string, c crony.AgentChange) (crony.AgentStatus, error) {
	a, err := crony.FindAgent(f, idOrName)
	if err == nil && len(c.Faults()) > 0 {
		err = &crony.Error{Code: crony.Invalid, Message: "the change can't be made", Faults: c.Faults()}
	}
	if err == nil && c.Cordon != nil {
		a.Cordon = &crony.Cordon{By: crony.ActorFrom(ctx), Reason: c.Cordon.Reason, Drain: c.Cordon.Drain}
	}
	return a, err
}

// fakeAccess knows one token for each role, named like it; a secret is the token with "secret-" before it.
type fakeAccess struct {
	mu      sync.Mutex
	revoked map[string]bool
	asked   int // calls with a cookie's secret
	heard   *hearing
}

func (f *fakeAccess) SignIn(ctx context.Context, token string) (crony.Session, string, error) {
	session, err := f.AuthenticateToken(ctx, token)
	session.ExpiresAt = noon.Add(time.Hour)
	return session, "secret-" + token, err
}

func (f *fakeAccess) Authenticate(ctx context.Context, secret string) (crony.Session, error) {
	f.heard.hear(secret)
	f.mu.Lock()
	f.asked++
	gone := f.revoked[secret]
	f.mu.Unlock()
	if token, ok := strings.CutPrefix(secret, "secret-"); ok && !gone {
		return f.AuthenticateToken(ctx, token)
	}
	return crony.Session{}, crony.Errorf(crony.Unauthorized, "this session is not known")
}

func (f *fakeAccess) AuthenticateToken(_ context.Context, bearer string) (crony.Session, error) {
	if !slices.Contains(crony.Role("").Allowed(), bearer) {
		return crony.Session{}, crony.Errorf(crony.Unauthorized, "this token is not known")
	}
	return crony.Session{Name: "the-" + bearer, Role: crony.Role(bearer)}, nil
}

func (f *fakeAccess) SignOut(_ context.Context, secret string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked[secret] = true
	return nil
}

// fakeEvents hands on what the test sends, to one subscriber.
type fakeEvents struct {
	in         chan Event
	subscribed chan context.Context
}

func (f *fakeEvents) Subscribe(ctx context.Context) <-chan Event {
	out := make(chan Event)
	f.subscribed <- ctx
	go func() {
		defer close(out)
		for {
			select {
			case e := <-f.in:
				select {
				case out <- e:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
