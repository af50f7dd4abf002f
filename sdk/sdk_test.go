package sdk

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// serve starts a server of the routes and returns a client of it.
func serve(t *testing.T, routes map[string]http.HandlerFunc) *Client {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, handler := range routes {
		mux.HandleFunc(pattern, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return client(t, Options{Address: server.URL, Token: "sesame"})
}

func client(t *testing.T, opts Options) *Client {
	t.Helper()
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer is a handler that gives one answer to everything.
func answer(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]Options{
		"no scheme":          {Address: "127.0.0.1:8470"},
		"another scheme":     {Address: "ftp://127.0.0.1"},
		"no host":            {Address: "http://"},
		"a query":            {Address: "http://127.0.0.1:8470?token=x"},
		"a user":             {Address: "http://me:secret@127.0.0.1:8470"},
		"a token's line end": {Token: "sesame\n"},
		"no such CA":         {CAFile: "testdata/none.pem"},
		"a CA of junk":       {CAFile: junk},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(opts)
			if crony.CodeOf(err) != crony.Invalid {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	var got *http.Request
	record := func(w http.ResponseWriter, r *http.Request) {
		got = r
		answer(200, "application/json; charset=utf-8", `{"items":[]}`)(w, r)
	}
	c := serve(t, map[string]http.HandlerFunc{"/": record})
	at := time.Date(2027, 1, 31, 12, 0, 0, 0, time.FixedZone("", 3600))
	for _, tt := range []struct {
		name string
		call func() error
		want string
	}{
		{"jobs", func() error {
			_, err := c.ListJobs(t.Context(), crony.JobQuery{Search: "a&b", Group: "ops", Agent: "A1", Limit: 7, Cursor: "x=="})
			return err
		}, "GET /api/v1/jobs?agent=A1&cursor=x%3D%3D&group=ops&limit=7&q=a%26b"},
		{"all jobs", func() error {
			_, err := c.ListJobs(t.Context(), crony.JobQuery{})
			return err
		}, "GET /api/v1/jobs"},
		{"runs", func() error {
			_, err := c.ListRuns(t.Context(), crony.RunQuery{Job: "j", Agent: "a", State: crony.Failed, Limit: 1, Cursor: "c"})
			return err
		}, "GET /api/v1/runs?agent=a&cursor=c&job=j&limit=1&state=failed"},
		{"a name that must be escaped", func() error {
			_, err := c.Job(t.Context(), "a/../b?c")
			return err
		}, "GET /api/v1/jobs/a%2F..%2Fb%3Fc"},
		{"pause", func() error {
			_, err := c.PauseJob(t.Context(), "j", true)
			return err
		}, "POST /api/v1/jobs/j/pause"},
		{"resume", func() error {
			_, err := c.PauseJob(t.Context(), "j", false)
			return err
		}, "POST /api/v1/jobs/j/resume"},
		{"start", func() error {
			_, err := c.StartJob(t.Context(), "j")
			return err
		}, "POST /api/v1/jobs/j/runs"},
		{"delete", func() error { return c.DeleteJob(t.Context(), "j") }, "DELETE /api/v1/jobs/j"},
		{"a ledger", func() error {
			_, err := c.ListLedger(t.Context(), crony.LedgerQuery{Job: "j", From: at, To: at.Add(time.Millisecond), Limit: 7, Cursor: "c"})
			return err
		}, "GET /api/v1/jobs/j/ledger?cursor=c&from=2027-01-31T11%3A00%3A00Z&limit=7&to=2027-01-31T11%3A00%3A00.001Z"},
		{"a day of a ledger", func() error {
			_, err := c.ListLedger(t.Context(), crony.LedgerQuery{Job: "j"})
			return err
		}, "GET /api/v1/jobs/j/ledger"},
		{"explain", func() error {
			_, err := c.ExplainOccurrence(t.Context(), "j", at)
			return err
		}, "GET /api/v1/jobs/j/explain?at=2027-01-31T11%3A00%3A00Z"},
		{"verify", func() error {
			_, err := c.VerifyLedger(t.Context(), crony.VerifyQuery{Job: "j", From: at, To: at})
			return err
		}, "GET /api/v1/jobs/j/verify?from=2027-01-31T11%3A00%3A00Z&to=2027-01-31T11%3A00%3A00Z"},
		{"verify a day", func() error {
			_, err := c.VerifyLedger(t.Context(), crony.VerifyQuery{Job: "j"})
			return err
		}, "GET /api/v1/jobs/j/verify"},
		{"calendars", func() error {
			_, err := c.ListCalendars(t.Context())
			return err
		}, "GET /api/v1/calendars"},
		{"a calendar", func() error {
			_, err := c.Calendar(t.Context(), "c/n")
			return err
		}, "GET /api/v1/calendars/c%2Fn"},
		{"delete a calendar", func() error { return c.DeleteCalendar(t.Context(), "cn") }, "DELETE /api/v1/calendars/cn"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.call(); err != nil {
				t.Fatal(err)
			}
			if line := got.Method + " " + got.RequestURI; line != tt.want {
				t.Errorf("got  %s\nwant %s", line, tt.want)
			}
			if auth := got.Header.Get("Authorization"); auth != "Bearer sesame" {
				t.Errorf("authorization %q", auth)
			}
		})
	}
}

func TestNamesThatWouldBeOtherPaths(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"/": func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s was called", r.Method, r.RequestURI)
	}})
	for _, name := range []string{"", ".", ".."} {
		_, calendar := c.Calendar(t.Context(), name)
		_, ledger := c.ListLedger(t.Context(), crony.LedgerQuery{Job: name})
		_, explained := c.ExplainOccurrence(t.Context(), name, time.Time{})
		_, verified := c.VerifyLedger(t.Context(), crony.VerifyQuery{Job: name})
		for _, err := range []error{c.DeleteJob(t.Context(), name), c.DeleteCalendar(t.Context(), name),
			c.RemoveServer(t.Context(), name), c.PromoteServer(t.Context(), name), c.RemoveAgent(t.Context(), name),
			c.DeleteJoinToken(t.Context(), name),
			calendar, ledger, explained, verified} {
			if crony.CodeOf(err) != crony.NotFound {
				t.Errorf("%q: got %v", name, err)
			}
		}
	}
}

func TestProblem(t *testing.T) {
	const body = `{"type":"about:blank","title":"Unprocessable Entity","status":422,"code":"invalid","detail":"no","hint":"mend it",
		"faults":[{"path":"jobs[0].shell.comand","line":4,"message":"unknown key","hint":"did you mean \"command\"?"}],"later":1}`
	c := serve(t, map[string]http.HandlerFunc{"/": answer(422, "application/problem+json; charset=utf-8", body)})
	_, err := c.Apply(t.Context(), []byte("jobs: []"), false)
	got, ok := errors.AsType[*crony.Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	want := &crony.Error{Code: crony.Invalid, Message: "no", Hint: "mend it", Faults: []crony.Fault{
		{Path: "jobs[0].shell.comand", Line: 4, Message: "unknown key", Hint: `did you mean "command"?`}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAnswersThatAreNotCronys(t *testing.T) {
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"a proxy's page", answer(502, "text/html", "<h1>Bad Gateway</h1>"), "502 Bad Gateway and a document of type text/html"},
		{"a page for everything", answer(200, "text/html", "<h1>Hi</h1>"), "200 OK and a document of type text/html"},
		{"a sign-in page elsewhere", http.RedirectHandler("https://login.example.com/", http.StatusFound).ServeHTTP, "a redirect to"},
		{"another service's JSON error", answer(404, "application/json", `{"error":"no"}`), "404 Not Found"},
		{"another service's problem", answer(500, "application/problem+json", `{"title":"boom"}`), "a problem that is not crony's"},
		{"JSON of another shape", answer(200, "application/json", `[1]`), "not readable"},
		{"half an answer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, `{"items":[`)
		}, "broke off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := serve(t, map[string]http.HandlerFunc{"/": tt.handler})
			_, err := c.ListAgents(t.Context())
			wantUnavailable(t, err, tt.want)
		})
	}
}

func wantUnavailable(t *testing.T, err error, want string) {
	t.Helper()
	e, ok := errors.AsType[*crony.Error](err)
	if !ok || e.Code != crony.Unavailable || !strings.Contains(e.Message, want) || e.Hint == "" {
		t.Errorf("got %v\nwant Unavailable with a hint, and %q", err, want)
	}
}

func TestAnswerIsBounded(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		piece := []byte(strings.Repeat(" ", 1<<20))
		for range maxAnswer>>20 + 1 {
			w.Write(piece)
		}
	}})
	_, err := c.ListAgents(t.Context())
	wantUnavailable(t, err, "has more than")
}

func TestNobodyAnswers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	address := "http://" + listener.Addr().String()
	_, err = client(t, Options{Address: address + "/"}).ListAgents(t.Context())
	wantUnavailable(t, err, address+" cannot be reached: dial tcp")
	if !strings.Contains(err.Error(), "is crony running at "+address+"?") {
		t.Errorf("no hint where to look: %v", err)
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(answer(200, "application/json", `{"items":[{"id":"a"}]}`))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}

	agents, err := client(t, Options{Address: server.URL, CAFile: ca}).ListAgents(t.Context())
	if err != nil || len(agents) != 1 || agents[0].ID != "a" {
		t.Errorf("with the CA: got %v, %v", agents, err)
	}
	_, err = client(t, Options{Address: server.URL}).ListAgents(t.Context())
	wantUnavailable(t, err, "certificate signed by unknown authority")
	_, err = client(t, Options{Address: strings.Replace(server.URL, "https:", "http:", 1)}).ListAgents(t.Context())
	wantUnavailable(t, err, "400 Bad Request")

	plain := httptest.NewServer(answer(200, "application/json", `{}`))
	t.Cleanup(plain.Close)
	_, err = client(t, Options{Address: strings.Replace(plain.URL, "http:", "https:", 1)}).ListAgents(t.Context())
	wantUnavailable(t, err, "HTTP response to HTTPS client")
	if !strings.Contains(err.Error(), "write http://") {
		t.Errorf("no hint: %v", err)
	}
}

func TestContext(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })

	_, err := client(t, Options{Address: server.URL, Timeout: time.Millisecond}).ListAgents(t.Context())
	wantUnavailable(t, err, "gave no answer within 1ms")

	why := errors.New("the caller has enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err = client(t, Options{Address: server.URL}).ListAgents(ctx); !errors.Is(err, why) {
		t.Errorf("got %v, want the caller's cause", err)
	}
}

func TestServer(t *testing.T) {
	const body = `{"id":"s1","version":"v1","cluster":"c","leader":"s1","started_at":"2026-01-02T03:04:05Z",
		"now":"2026-01-02T03:04:06Z","jobs":1,"paused_jobs":2,"unplaced_jobs":3,"agents":4,"running":5}`
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/server": answer(200, "application/json", body)})
	got, err := c.Server(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var want, back any
	sent, _ := json.Marshal(got)
	if err := errors.Join(json.Unmarshal([]byte(body), &want), json.Unmarshal(sent, &back)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Error(diff)
	}
}
