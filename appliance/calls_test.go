package appliance_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"crony"
	"crony/internal/testcluster"
)

// TestCalls applies jobs that call services, and runs them: what they were answered is their output, and the status is with the
// run. One that was accepted waits, over a restart of its agent too, until it is killed.
func TestCalls(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 1)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/accept":
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, r.Header.Get("Crony-Servers"))
		case "/bad":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			fmt.Fprintf(w, "%s %s", r.Header.Get("Crony-Job"), r.URL.RawQuery)
		}
	}))
	defer service.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, healthy := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, healthy)
	reflection.Register(server)
	go server.Serve(l)
	defer server.Stop()
	c.Apply(fmt.Sprintf(`jobs:
  - {name: get, http: {url: "%[1]s/?day={{.Params.day}}"}}
  - {name: bad, http: {url: "%[1]s/bad"}}
  - {name: wait, overlap: forbid, http: {url: "%[1]s/accept", method: POST, async: true}}
  - {name: rpc, grpc: {target: "%[2]s", method: grpc.health.v1.Health/Check, request: {}}}
  - {name: none, grpc: {target: "%[2]s", method: grpc.health.v1.Health/Check, request: {service: none}}}
  - {name: link, http: {url: "http://169.254.169.254/"}}
`, service.URL, l.Addr()))
	start := func(job string, params map[string]string) crony.RunID {
		t.Helper()
		ids, err := c.StartJob(t.Context(), job, crony.StartOptions{Params: params})
		if err != nil {
			t.Fatal(err)
		}
		return ids[0]
	}
	become := func(id crony.RunID, state crony.RunState) (run crony.Run) {
		t.Helper()
		c.Wait("the run to be "+string(state), func() bool {
			var err error
			run, err = c.Run(t.Context(), id)
			return err == nil && run.State == state
		})
		return run
	}
	text := func(id crony.RunID, stream crony.Stream) string {
		t.Helper()
		var b strings.Builder
		for chunk, err := range c.Output(t.Context(), id, false) {
			if err != nil {
				t.Fatal(err)
			}
			if chunk.Stream == stream {
				b.Write(chunk.Data)
			}
		}
		return b.String()
	}
	for _, w := range []struct {
		job, status, reason, output string
		state                       crony.RunState
	}{
		{"get", "HTTP 200", "", "get day=mon", crony.Succeeded},
		{"bad", "HTTP 503", "HTTP 503 Service Unavailable", "", crony.Failed},
		{"rpc", "OK", "", `{"status":"SERVING"}` + "\n", crony.Succeeded},
		{"none", "NOT_FOUND", "NOT_FOUND: unknown service", "", crony.Failed},
		{"link", "", "a link-local address", "", crony.Failed},
	} {
		id := start(w.job, map[string]string{"day": "mon"})
		run := become(id, w.state)
		if a := run.Attempts; !strings.Contains(run.Reason, w.reason) || len(a) != 1 || a[0].Status != w.status || a[0].StdoutBytes != int64(len(w.output)) {
			t.Errorf("%s: %+v", w.job, run)
		}
		if out, err := text(id, crony.Stdout), text(id, crony.Stderr); out != w.output || !strings.Contains(err, "whole ") {
			t.Errorf("%s: output %q, %q", w.job, out, err)
		}
	}
	id := start("wait", nil)
	if run := become(id, crony.Waiting); run.Callback != "" || run.Until.IsZero() || !strings.Contains(run.Reason, "its answer is awaited") {
		t.Errorf("%+v", run)
	}
	if out, told := text(id, crony.Stdout), text(id, crony.Stderr); out != "" || !strings.HasPrefix(told, c.URL) {
		t.Errorf("it can be answered at %q, not at %q; and it has logged %q", told, c.URL, out)
	}
	c.StopAgent("a1")
	c.StartAgent("a1")
	if run := become(id, crony.Waiting); run.EndedAt.After(run.StartedAt) {
		t.Errorf("after a restart of its agent: %+v", run)
	}
	if err := c.KillRun(t.Context(), id, "enough"); err != nil {
		t.Fatal(err)
	}
	if run := become(id, crony.Killed); run.Reason != "killed by tester: enough" {
		t.Errorf("%+v", run)
	}
}
