package webui

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"crony"
	"crony/webui/api"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // the framework's clock ends never, the cleaner of its workers up to 10 s after them
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// rig is a server on fakes.
type rig struct {
	*Server
	jobs      *fakeJobs
	runs      *fakeRuns
	finds     *fakeFinds
	ledger    *fakeLedger
	calendars fakeCalendars
	scripts   fakeScripts
	access    *fakeAccess
	events    *fakeEvents
	heard     *hearing
	checks    []Check
	clock     time.Time
	log       *syncBuffer
	spec      routers.Router
}

func newRig(t *testing.T, change ...func(*Options)) *rig {
	t.Helper()
	return newRigWith(t, builtApp(), change...)
}

func newRigWith(t *testing.T, dir fs.FS, change ...func(*Options)) *rig {
	t.Helper()
	exit := 0
	run := crony.Run{
		ID: crony.NewRunID(noon), Job: "hello", JobUID: "uid-hello", Generation: 1, Group: "default", Agent: "agent-1",
		Trigger: crony.BySchedule, ScheduledAt: noon, Epoch: 7, State: crony.Succeeded, StartedAt: noon, EndedAt: noon,
		Attempts: []crony.Attempt{{Number: 1, StartedAt: noon, EndedAt: noon, ExitCode: &exit, StdoutBytes: 6}},
	}
	heard := &hearing{}
	r := &rig{
		heard:     heard,
		jobs:      &fakeJobs{jobs: map[string]crony.JobStatus{}, heard: heard},
		runs:      &fakeRuns{run: run, live: make(chan crony.Chunk)},
		finds:     &fakeFinds{},
		ledger:    &fakeLedger{},
		calendars: fakeCalendars{},
		scripts:   fakeScripts{},
		access:    &fakeAccess{revoked: map[string]bool{}, heard: heard},
		events:    &fakeEvents{in: make(chan Event), subscribed: make(chan context.Context, 1)},
		clock:     noon, log: &syncBuffer{}, spec: specRouter(t),
	}
	registry := prometheus.NewRegistry()
	opts := Options{
		Jobs: r.jobs, Runs: r.runs, Outputs: r.finds, Figures: r.finds, Ledger: r.ledger, Calendars: r.calendars,
		Scripts: r.scripts, Access: r.access, Events: r.events,
		Agents:  fakeAgents{{Agent: crony.Agent{ID: "agent-1", Name: "web-1", Weight: 1, Since: noon}, Up: true, Jobs: 2, Running: 1}},
		LastRun: func(job string) (crony.Run, bool) { return run, job == run.Job },
		Facts: func(context.Context) (Facts, error) {
			return Facts{ID: "s1", Version: "v1", Cluster: "c1", Leader: "s1", StartedAt: noon, Jobs: 3, Agents: 1}, nil
		},
		Cluster: &fakeCluster{}, Revision: func() int64 { return 1 },
		Join: func(context.Context, crony.JoinRequest, string) (crony.JoinAnswer, error) {
			return crony.JoinAnswer{}, errInner
		},
		Callback: func(context.Context, crony.RunID, string, crony.CalleeReport) (crony.CalleeAnswer, error) {
			return crony.CalleeAnswer{}, errInner
		},
		Backup:     func(context.Context, io.Writer, []string) error { return errInner },
		Ready:      func(context.Context) []Check { return r.checks },
		Registerer: registry, Gatherer: registry,
		Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now: func() time.Time { return r.clock },
	}
	for _, f := range change {
		f(&opts)
	}
	if err := opts.complete(); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.Server, err = newServer(opts, dir); err != nil {
		t.Fatal(err)
	}
	return r
}

// builtApp is the least that a build of the web app makes.
func builtApp() fstest.MapFS {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	return fstest.MapFS{
		"app/index.html":         file(`<meta property="csp-nonce" nonce="__CSP_NONCE__"><script nonce="__CSP_NONCE__"></script>`),
		"app/theme.js":           file("theme"),
		"app/.stamp":             file("stamp"),
		"app/assets/a-1.js":      file("plain"),
		"app/assets/a-1.js.br":   file("brotli"),
		"app/assets/a-1.js.gz":   file("gzipped"),
		"app/assets/b-2.svg":     file("<svg/>"),
		"app/assets/b-2.svg.gz":  file("gzipped svg"),
		"placeholder.html":       file("placeholder"),
		"app/assets/folder/x.js": file("x"),
	}
}

// syncBuffer is written by several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func specRouter(t *testing.T) routers.Router {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(api.Spec)
	if err != nil {
		t.Fatal(err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return router
}

// call is a request in few words.
type call struct {
	method, path string
	as           string // the role whose token is sent; "" none
	cookie       string // the session's secret
	body         string
	header       http.Header
}

func (c call) request() *http.Request {
	req := httptest.NewRequest(c.method, c.path, strings.NewReader(c.body))
	if c.body == "" {
		req.Body = http.NoBody
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range c.header {
		req.Header[name] = values
	}
	if c.as != "" {
		req.Header.Set("Authorization", "Bearer "+c.as)
	}
	if c.cookie != "" {
		req.AddCookie(&http.Cookie{Name: cookieName, Value: c.cookie})
	}
	return req
}

// answer is a response that was read and held against the contract.
type answer struct {
	*http.Response
	body []byte
}

func (r *rig) do(t *testing.T, c call) answer {
	t.Helper()
	req := c.request()
	resp, err := r.app.Test(req, 10_000)
	if err != nil {
		t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	r.conforms(t, c, resp, body)
	return answer{resp, body}
}

// conforms holds an answer of the API against the OpenAPI document.
func (r *rig) conforms(t *testing.T, c call, resp *http.Response, body []byte) {
	t.Helper()
	req := c.request()
	route, params, err := r.spec.FindRoute(req)
	if err != nil || c.method == http.MethodHead {
		return // not of the API
	}
	mediaType := resp.Header.Get("Content-Type")
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 resp.StatusCode, Header: resp.Header,
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: mediaType == "text/event-stream" || mediaType == "application/octet-stream",
		},
	}
	if err := openapi3filter.ValidateResponse(t.Context(), input.SetBodyBytes(body)); err != nil {
		t.Errorf("%s %s: the answer is not what openapi.yaml says: %v\n%s", c.method, c.path, err, body)
	}
}

func (a answer) problem(t *testing.T) api.Problem {
	t.Helper()
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("content type %q, body %s", got, a.body)
	}
	return decode[api.Problem](t, a.body)
}

func decode[T any](t *testing.T, data []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

// listen serves the rig on a loopback port and returns its address; stop ends that and returns what Serve did.
func (r *rig) listen(t *testing.T, wrap func(net.Listener) net.Listener) (addr string, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	if wrap != nil {
		ln = wrap(ln)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, ln) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-served:
			return err
		case <-time.After(30 * time.Second):
			panic("Serve does not return")
		}
	})
	t.Cleanup(func() { stop() })
	return addr, stop
}
