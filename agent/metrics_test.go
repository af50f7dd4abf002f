//go:build linux

package agent

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/internal/wire"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// TestMetrics follows a run through the figures: as it waits for a server, and as it has been delivered.
func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, dir)
	r.reports.spool = spool{dir: dir, size: 1 << 30}
	id, err := openIdentity(newFakeCluster(t).agent(t, "127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	link := newLink(id, nil, crony.Agent{}, r.journal.runs, time.Now, r.journal.log)
	loop := newLoop(link, r.runner, r.journal, boots{}, time.Now, r.journal.log)
	w := &watched{r.journal, r.reports, r.runner, link, loop}
	registry, err := w.registry(func() time.Time { return noon.Add(90 * time.Second) })
	if err != nil {
		t.Fatal(err)
	}
	handler := w.handler(registry)
	expect := func(when string, lines ...string) {
		t.Helper()
		code, body := get(t, handler, "/metrics")
		if code != http.StatusOK {
			t.Fatalf("%s: %d", when, code)
		}
		for _, line := range lines {
			if !strings.Contains(body, "\n"+line) {
				t.Errorf("%s: there is no %q", when, line)
			}
		}
		if t.Failed() {
			t.Log(body)
		}
	}
	r.endedRun(1, 5000)
	loop.runner.metrics.claim(true)
	expect("while it waits", "crony_agent_spool_runs 1\n", "crony_agent_spool_records 5\n", "crony_agent_spool_oldest_seconds 90\n",
		"crony_agent_spool_limit_bytes 1.073741824e+09\n", "crony_agent_spool_short 0\n", "crony_agent_output_dropped_bytes_total 0\n",
		"crony_agent_runs_started_total 1\n", `crony_agent_runs_ended_total{state="succeeded"} 1`+"\n", "crony_agent_runs_running 0\n",
		"crony_agent_runs_waiting 0\n", "crony_agent_retries_total 0\n",
		`crony_agent_claims_total{decision="granted"} 1`+"\n", `crony_agent_claims_total{decision="refused"} 0`+"\n",
		`crony_agent_clock_steps_total{direction="back"} 0`+"\n", "crony_agent_connected 0\n",
		"crony_agent_certificate_expiry_timestamp_seconds ", "crony_build_info{", "process_resident_memory_bytes ", "go_goroutines ")
	if got := r.reports.depth().outputs + r.journal.bytes(); got < 5000 {
		t.Errorf("%d bytes wait", got)
	}
	r.begin()
	r.ended(runAt(1))
	link.connected.Store(true)
	expect("when it is delivered", "crony_agent_spool_runs 0\n", "crony_agent_spool_records 0\n", "crony_agent_spool_oldest_seconds 0\n",
		"crony_agent_connected 1\n")
	if code, _ := get(t, handler, "/"); code != http.StatusNotFound {
		t.Errorf("another page: %d", code)
	}

	if code, body := get(t, handler, "/livez"); code != http.StatusOK || body != `{"live":true}` {
		t.Errorf("%d %s", code, body)
	}
	loop.born = loop.born.Add(-2 * stuck)
	if code, body := get(t, handler, "/livez"); code != http.StatusServiceUnavailable || body != `{"live":false}` {
		t.Errorf("a loop that stands still: %d %s", code, body)
	}
	loop.beat.Store(-1)
	if code, _ := get(t, handler, "/livez"); code != http.StatusOK {
		t.Errorf("a loop that has come to its end: %d", code)
	}
}

// TestMetricsAreServed asks an agent, and another one whose address is taken: it works all the same.
func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	quiet := func(_ int, link wire.Link_ConnectServer) error {
		if _, err := welcome(link, maxReport); err != nil {
			return err
		}
		<-link.Context().Done()
		return nil
	}
	_, opts, log := newFakeHub(t, quiet)
	opts.MetricsListen = "127.0.0.1:0"
	stop := runAgentIn(t, opts)
	address := ""
	eventually(t, "the address", func() bool {
		_, rest, found := strings.Cut(log.String(), `msg="metrics are served" part=agent address=`)
		address, _, _ = strings.Cut(rest, "\n")
		return found
	})
	var body []byte
	eventually(t, "a link", func() bool {
		resp, err := http.Get("http://" + address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err = io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(body), "crony_agent_connected 1\n")
	})
	stop()
	if conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", address); err == nil {
		conn.Close()
		t.Error("it still listens")
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	h, opts, log := newFakeHub(t, quiet)
	opts.MetricsListen = taken.Addr().String()
	runAgentIn(t, opts)
	eventually(t, "the second agent", func() bool { return h.streams() > 0 && strings.Contains(log.String(), "metrics are not served") })
}
