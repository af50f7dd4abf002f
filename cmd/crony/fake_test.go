package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"crony"
	"crony/sdk"
)

// noon is now, for the commands under test.
var noon = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

const token = "sesame"

// fake is a server that speaks the API's contract over what its fields hold.
type fake struct {
	mu        sync.Mutex
	jobs      map[string]*crony.JobStatus
	runs      []crony.Run // the newest first
	agents    []crony.AgentStatus
	hosts     map[string]crony.HostFigures // by the agent's id
	next      []func(*crony.AgentStatus)   // what becomes of an agent, and of all else, before each later look at it
	ledger    ledger
	calendars map[string]*crony.CalendarStatus
	scripts   map[string]*crony.ScriptStatus
	cluster   cluster
	query     url.Values                                     // of the last list of runs, or search
	count     *crony.RunCount                                // of every list of runs
	hits      []crony.OutputHit                              // of every search
	history   []crony.DayFigures                             // of every job
	pages     int                                            // list calls that were answered
	output    func(w http.ResponseWriter, id crony.RunID)    // writes events
	started   func(job string) ([]crony.RunID, *crony.Error) // answers orders
	ordered   crony.StartOptions                             // the last
	killed    map[string]string                              // the last
	handled   crony.HandleOptions                            // the last
}

// session runs commands against a fake.
type session struct {
	t        *testing.T
	address  string
	token    string
	stdin    io.Reader
	terminal bool
	shown    bool
	watched  bool
	patience time.Duration
}

func start(t *testing.T, f *fake) *session {
	t.Helper()
	return serveHandler(t, f.ServeHTTP)
}

func serveHandler(t *testing.T, handler http.HandlerFunc) *session {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &session{t: t, address: server.URL, stdin: strings.NewReader(""), patience: time.Minute}
}

// result is how a command ended.
type result struct {
	code           int
	stdout, stderr string
}

func (s *session) run(args ...string) result {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	return result{s.cli(&stdout, &stderr).run(s.t.Context(), args), stdout.String(), stderr.String()}
}

// cli is what a command runs in.
func (s *session) cli(stdout, stderr io.Writer) *cli {
	env := map[string]string{"CRONY_ADDRESS": s.address, "CRONY_TOKEN": cmp.Or(s.token, token)}
	return &cli{
		stdin: s.stdin, stdout: stdout, stderr: stderr, env: func(key string) string { return env[key] },
		now: func() time.Time { return noon }, terminal: s.terminal, shown: s.shown, watched: s.watched,
		poll: time.Millisecond, patience: s.patience,
	}
}

// want runs a command that is to succeed and returns its stdout.
func (s *session) want(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	if r.code != 0 {
		s.t.Fatalf("crony %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	return r.stdout
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+token {
		refuse(w, crony.Errorf(crony.Unauthorized, "who are you?"))
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/server", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, sdk.Server{ID: "s1", Version: "v9.9.9"})
	})
	mux.HandleFunc("POST /api/v1/apply", f.apply)
	mux.HandleFunc("GET /api/v1/jobs", f.listJobs)
	mux.HandleFunc("GET /api/v1/jobs/{name}", f.job(func(*crony.JobStatus) {}))
	mux.HandleFunc("POST /api/v1/jobs/{name}/pause", f.job(func(j *crony.JobStatus) { j.Job.Paused = true }))
	mux.HandleFunc("POST /api/v1/jobs/{name}/resume", f.job(func(j *crony.JobStatus) { j.Job.Paused = false }))
	mux.HandleFunc("DELETE /api/v1/jobs/{name}", f.deleteJob)
	mux.HandleFunc("POST /api/v1/jobs/{name}/runs", f.startJob)
	mux.HandleFunc("GET /api/v1/runs", f.listRuns)
	mux.HandleFunc("GET /api/v1/runs/{id}", f.run)
	mux.HandleFunc("GET /api/v1/runs/{id}/output", f.runOutput)
	mux.HandleFunc("POST /api/v1/runs/{id}/kill", f.killRun)
	mux.HandleFunc("POST /api/v1/runs/{id}/handled", f.handleRun)
	mux.HandleFunc("GET /api/v1/outputs/search", f.searchOutput)
	mux.HandleFunc("GET /api/v1/jobs/{name}/history", func(w http.ResponseWriter, r *http.Request) {
		f.query = r.URL.Query()
		reply(w, http.StatusOK, map[string]any{"items": f.history})
	})
	f.routeAgents(mux)
	f.routeLedger(mux)
	f.routeScripts(mux)
	f.routeCluster(mux)
	mux.ServeHTTP(w, r)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, e *crony.Error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusTeapot) // nobody is to look at the status: the code says it
	json.NewEncoder(w).Encode(map[string]any{"code": e.Code, "detail": e.Message, "hint": e.Hint, "faults": e.Faults})
}

func (f *fake) apply(w http.ResponseWriter, r *http.Request) {
	data, _ := io.ReadAll(r.Body)
	m, err := crony.DecodeManifest(data)
	if err != nil {
		e, _ := errors.AsType[*crony.Error](err)
		refuse(w, e)
		return
	}
	calendars, scripts, applied := []crony.Applied{}, []crony.Applied{}, []crony.Applied{}
	for _, c := range m.Calendars {
		calendars = append(calendars, crony.Applied{Kind: crony.KindCalendar, Name: c.Name, Action: crony.Created})
		f.calendars[c.Name] = &crony.CalendarStatus{Calendar: c, UpdatedAt: noon, Jobs: []string{}}
	}
	for _, s := range m.Scripts {
		scripts = append(scripts, crony.Applied{Kind: crony.KindScript, Name: s.Name, Action: crony.Created})
		f.scripts[s.Name] = &crony.ScriptStatus{Script: s, UpdatedAt: noon, Jobs: []string{}}
	}
	for _, j := range m.Jobs {
		a := crony.Applied{Kind: crony.KindJob, Name: j.Name, Action: crony.Created, Generation: 1}
		if old, ok := f.jobs[j.Name]; ok {
			a.Action, a.Generation = crony.Updated, old.Generation+1
		}
		applied = append(applied, a)
		if r.URL.Query().Get("dry_run") != "true" {
			f.jobs[j.Name] = &crony.JobStatus{Definition: crony.Definition{Job: j, Generation: a.Generation}}
		}
	}
	reply(w, http.StatusOK, map[string]any{"calendars": calendars, "scripts": scripts, "jobs": applied})
}

func (f *fake) listJobs(w http.ResponseWriter, r *http.Request) {
	q, all := r.URL.Query(), []crony.JobStatus{}
	for _, j := range f.jobs {
		if strings.Contains(j.Job.Name, q.Get("q")) && (q.Get("group") == "" || j.Job.InGroup() == q.Get("group")) &&
			(q.Get("agent") == "" || slices.ContainsFunc(j.Assignments, func(a crony.Assignment) bool { return a.Agent == q.Get("agent") })) {
			all = append(all, *j)
		}
	}
	slices.SortFunc(all, func(a, b crony.JobStatus) int { return cmp.Compare(a.Job.Name, b.Job.Name) })
	var page crony.JobPage
	page.Items, page.Next = cut(f, all, r)
	reply(w, http.StatusOK, page)
}

// cut returns the page that r asks for; its cursors are offsets.
func cut[T any](f *fake, all []T, r *http.Request) ([]T, string) {
	f.pages++
	from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	size, _ := strconv.Atoi(cmp.Or(r.URL.Query().Get("limit"), "100"))
	if rest := all[from:]; len(rest) <= size {
		return rest, ""
	}
	return all[from : from+size], strconv.Itoa(from + size)
}

func (f *fake) job(change func(j *crony.JobStatus)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		j, ok := f.jobs[r.PathValue("name")]
		if !ok {
			refuse(w, crony.Errorf(crony.NotFound, "there is no job %q", r.PathValue("name")))
			return
		}
		change(j)
		reply(w, http.StatusOK, j)
	}
}

func (f *fake) deleteJob(w http.ResponseWriter, r *http.Request) {
	if _, ok := f.jobs[r.PathValue("name")]; !ok {
		refuse(w, crony.Errorf(crony.NotFound, "there is no job %q", r.PathValue("name")))
		return
	}
	delete(f.jobs, r.PathValue("name"))
	w.WriteHeader(http.StatusNoContent)
}

func (f *fake) startJob(w http.ResponseWriter, r *http.Request) {
	f.ordered = crony.StartOptions{}
	if err := json.NewDecoder(r.Body).Decode(&f.ordered); err != nil {
		refuse(w, crony.Errorf(crony.Invalid, "%v", err))
		return
	}
	ids, err := f.started(r.PathValue("name"))
	if err != nil {
		refuse(w, err)
		return
	}
	reply(w, http.StatusAccepted, map[string]any{"runs": ids})
}

func (f *fake) killRun(w http.ResponseWriter, r *http.Request) {
	if f.find(r.PathValue("id")) == nil {
		refuse(w, crony.Errorf(crony.NotFound, "there is no run %s", r.PathValue("id")))
		return
	}
	f.killed = map[string]string{"id": r.PathValue("id")}
	if err := json.NewDecoder(r.Body).Decode(&f.killed); err != nil {
		refuse(w, crony.Errorf(crony.Invalid, "%v", err))
		return
	}
	reply(w, http.StatusAccepted, map[string]string{"waits": f.killed["reason"]})
}

func (f *fake) handleRun(w http.ResponseWriter, r *http.Request) {
	run := f.find(r.PathValue("id"))
	switch {
	case run == nil:
		refuse(w, crony.Errorf(crony.NotFound, "there is no run %s", r.PathValue("id")))
		return
	case run.Handled != nil:
		refuse(w, crony.Errorf(crony.Conflict, "the result is %s", run.Handled.Words()))
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&f.handled); err != nil {
		refuse(w, crony.Errorf(crony.Invalid, "%v", err))
		return
	}
	run.Handled, run.ToHandle = &crony.Handled{By: "me", At: noon, Note: f.handled.Note}, false
	reply(w, http.StatusOK, run.Handled)
}

func (f *fake) listRuns(w http.ResponseWriter, r *http.Request) {
	q, all := r.URL.Query(), []crony.Run{}
	for _, run := range f.runs {
		if (q.Get("job") == "" || q.Get("job") == run.Job) && (q.Get("agent") == "" || q.Get("agent") == run.Agent) &&
			(q.Get("state") == "" || q.Get("state") == string(run.State)) {
			all = append(all, run)
		}
	}
	f.query = q
	page := crony.RunPage{Count: f.count}
	page.Items, page.Next = cut(f, all, r)
	reply(w, http.StatusOK, page)
}

// searchOutput has an empty page between any two hits, as a search through much output does.
func (f *fake) searchOutput(w http.ResponseWriter, r *http.Request) {
	f.query = r.URL.Query()
	at, _ := strconv.Atoi(f.query.Get("cursor"))
	page := crony.OutputPage{Items: []crony.OutputHit{}, Bytes: 1 << 20, Reached: noon.Add(-time.Duration(at) * time.Hour)}
	f.pages++
	if at%2 == 1 {
		page.Items = append(page.Items, f.hits[at/2])
	}
	if at < 2*len(f.hits) {
		page.Next = strconv.Itoa(at + 1)
	}
	reply(w, http.StatusOK, page)
}

func (f *fake) find(id string) *crony.Run {
	for i := range f.runs {
		if string(f.runs[i].ID) == id {
			return &f.runs[i]
		}
	}
	return nil
}

func (f *fake) run(w http.ResponseWriter, r *http.Request) {
	run := f.find(r.PathValue("id"))
	if run == nil {
		refuse(w, crony.Errorf(crony.NotFound, "there is no run %s", r.PathValue("id")))
		return
	}
	reply(w, http.StatusOK, run)
}

func (f *fake) runOutput(w http.ResponseWriter, r *http.Request) {
	if f.find(r.PathValue("id")) == nil {
		refuse(w, crony.Errorf(crony.NotFound, "there is no run %s", r.PathValue("id")))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	f.output(w, crony.RunID(r.PathValue("id")))
}

// send writes an event.
func send(w io.Writer, name string, v any) {
	data, _ := json.Marshal(v)
	fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, data)
}

// chunk is a piece of the first attempt's output.
func chunk(stream crony.Stream, offset int64, text string) crony.Chunk {
	return crony.Chunk{Attempt: 1, Stream: stream, Offset: offset, Data: []byte(text)}
}
