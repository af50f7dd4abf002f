package callee

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const token = "the-token-of-the-call"

// servers are a cluster's, as far as a service sees them: they keep what they are told, each event once.
type servers struct {
	mu     sync.Mutex
	events map[string]map[int]event // by run and attempt, by number
	asked  map[string]int           // by server
	answer func(host string) (status int, body string)
	lose   int // answers that are lost, though what was told is kept
}

func newServers() *servers {
	return &servers{events: map[string]map[int]event{}, asked: map[string]int{}}
}

// RoundTrip implements [http.RoundTripper].
func (s *servers) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[r.URL.Host]++
	status, text := 200, "{}"
	if s.answer != nil {
		status, text = s.answer(r.URL.Host)
	}
	if status == 0 {
		return nil, errors.New("no route to " + r.URL.Host)
	}
	if status == 200 {
		if r.Header.Get("Authorization") != "Bearer "+token {
			return nil, errors.New("another token")
		}
		if err := s.keep(strings.TrimPrefix(r.URL.Path, "/api/v1/callbacks/"), body); err != nil {
			return nil, err
		}
		if s.lose > 0 {
			s.lose--
			return nil, errors.New("the answer is lost")
		}
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}, nil
}

func (s *servers) keep(run string, body []byte) error {
	var report struct {
		Attempt int
		Events  []event
	}
	if err := json.Unmarshal(body, &report); err != nil {
		return err
	}
	key := fmt.Sprintf("%s/%d", run, report.Attempt)
	if s.events[key] == nil {
		s.events[key] = map[int]event{}
	}
	for _, e := range report.Events {
		if known, ok := s.events[key][e.Seq]; ok {
			was, _ := json.Marshal(known)
			is, _ := json.Marshal(e)
			if !bytes.Equal(was, is) {
				return fmt.Errorf("event %d was %s and is %s", e.Seq, was, is)
			}
		}
		s.events[key][e.Seq] = e
	}
	return nil
}

// told returns what is on record of a run's first attempt: its log, by offsets, and its result.
func (s *servers) told(run string) (log []byte, last *progress, results []result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var seqs []int
	for seq := range s.events[run+"/1"] {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	for _, seq := range seqs {
		switch e := s.events[run+"/1"][seq]; {
		case e.Log != nil:
			end := int(e.Log.Offset) + len(e.Log.Text)
			if end > len(log) {
				log = append(log, bytes.Repeat([]byte{0}, end-len(log))...)
			}
			copy(log[e.Log.Offset:], e.Log.Text)
		case e.Progress != nil:
			last = e.Progress
		default:
			results = append(results, *e.Result)
		}
	}
	return log, last, results
}

// set changes how the servers answer.
func (s *servers) set(answer func(host string) (int, string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func newService(t *testing.T, to *servers, opts Options) *Service {
	t.Helper()
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if to != nil {
		s.client.Transport = to
	}
	return s
}

// headers are those of a call.
func headers(run string, more ...string) http.Header {
	h := http.Header{}
	for key, value := range map[string]string{"Crony-Job": "rebuild", "Crony-Run-Id": run, "Crony-Scheduled-At": "2027-01-01T12:00:00Z",
		"Crony-Attempt": "1", "Crony-Epoch": "7", "Crony-Token": token, "Crony-Servers": "https://s1:8470,https://s2:8470/",
		"Crony-Deadline": "2027-01-01T13:00:00Z", "Crony-Timeout": "3600"} {
		h.Set(key, value)
	}
	for i := 0; i < len(more); i += 2 {
		h.Set(more[i], more[i+1])
	}
	return h
}

func call(h http.Handler, header http.Header, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/jobs/rebuild", strings.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func closed(t *testing.T, s *Service) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTells accepts a call at once and tells how the work goes, through servers that are down and answers that are lost.
func TestTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newServers()
		to.lose = 3
		to.set(func(host string) (int, string) {
			if host == "s1:8470" {
				return 0, ""
			}
			return 200, "{}"
		})
		s := newService(t, to, Options{})
		h := s.Handler(func(ctx context.Context, run *Run) (any, error) {
			fmt.Fprint(run.Log(), "one\nцв\xd1")
			time.Sleep(time.Second)
			fmt.Fprint(run.Log(), "\x82\nbad: \xff\n")
			for i := range 1000 {
				run.Progress(i/10, "at work")
			}
			if run.Job != "rebuild" || run.Epoch != 7 || run.Attempt != 1 || run.ScheduledAt.IsZero() || string(run.Body) != "body" {
				return nil, fmt.Errorf("the run is %+v", run)
			}
			if left, ok := ctx.Deadline(); !ok || time.Until(left) > time.Hour {
				return nil, fmt.Errorf("the deadline is %s", left)
			}
			return map[string]int{"documents": 12}, nil
		})
		if w := call(h, headers("R1"), "body"); w.Code != http.StatusAccepted || w.Body.Len() > 0 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		closed(t, s)
		log, last, results := to.told("R1")
		if string(log) != "one\nцвт\nbad: ?\n" {
			t.Errorf("the log is %q", log)
		}
		if last == nil || last.Percent != 99 || len(results) != 1 || results[0].State != "succeeded" || string(results[0].Data) != `{"documents":12}` {
			t.Errorf("progress %+v, results %+v", last, results)
		}
	})
}

// TestAllAreDown tells the result as soon as any server is there, as long as the deadline has not passed, and gives up then.
func TestAllAreDown(t *testing.T) {
	for _, c := range []struct {
		down time.Duration
		told bool
	}{{50 * time.Minute, true}, {2 * time.Hour, false}} {
		synctest.Test(t, func(t *testing.T) {
			to, began := newServers(), time.Now()
			answers := []int{0, 404, 429, 500, 503}
			to.set(func(string) (int, string) {
				if time.Since(began) < c.down {
					answers = append(answers[1:], answers[0])
					return answers[0], `{"detail":"not now"}`
				}
				return 200, "{}"
			})
			s := newService(t, to, Options{})
			call(s.Handler(func(context.Context, *Run) (any, error) { return nil, errors.New("no disk") }), headers("R1"), "")
			closed(t, s)
			took := time.Since(began)
			_, _, results := to.told("R1")
			if told := len(results) == 1 && results[0].State == "failed" && results[0].Reason == "no disk"; told != c.told {
				t.Errorf("down for %s: %+v", c.down, results)
			}
			if most := min(c.down+2*longestGap, time.Hour+lastCalls); took > most || to.asked["s1:8470"] > 600 {
				t.Errorf("down for %s: it took %s and %d requests", c.down, took, to.asked["s1:8470"])
			}
		})
	}
}

// TestStop ends the work's context when a server says so, and when the deadline passes.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newServers()
		s := newService(t, to, Options{})
		var causes []string
		h := s.Handler(func(ctx context.Context, run *Run) (any, error) {
			for ctx.Err() == nil {
				run.Progress(1, "at work")
				time.Sleep(time.Second)
			}
			causes = append(causes, context.Cause(ctx).Error())
			return nil, context.Cause(ctx)
		})
		call(h, headers("R1"), "")
		time.Sleep(time.Minute)
		to.set(func(string) (int, string) { return 200, `{"stop":"killed by eve"}` })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		to.set(nil)
		began := time.Now()
		call(h, headers("R2", "Crony-Timeout", "90"), "")
		closed(t, s)
		if took := time.Since(began); len(causes) != 2 || !strings.Contains(causes[0], "killed by eve") || !strings.Contains(causes[1], "deadline") || took > 95*time.Second {
			t.Errorf("%q after %s", causes, took)
		}
		if _, _, results := to.told("R1"); len(results) != 1 {
			t.Errorf("what is stopped still tells how it ended: %+v", results)
		}
	})
}

// TestOnce: a call that comes again is accepted, during the work and after it, and worked on once; the next attempt is another.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, newServers(), Options{AtOnce: 2})
		var mu sync.Mutex
		var worked []string
		h := s.Handler(func(_ context.Context, run *Run) (any, error) {
			mu.Lock()
			worked = append(worked, run.key())
			mu.Unlock()
			time.Sleep(time.Minute)
			return nil, nil
		})
		for i, c := range []struct {
			run, attempt string
			after        time.Duration
			status       int
		}{
			{"R1", "1", 0, 202}, {"R1", "1", time.Second, 202}, {"R1", "2", 0, 202}, {"R3", "1", 0, 503}, {"R1", "2", 0, 202},
			{"R1", "1", 2 * time.Minute, 202}, {"R3", "1", 0, 202},
		} {
			time.Sleep(c.after)
			if w := call(h, headers(c.run, "Crony-Attempt", c.attempt), ""); w.Code != c.status {
				t.Errorf("call %d: %d %s", i, w.Code, w.Body)
			}
		}
		closed(t, s)
		slices.Sort(worked)
		if !slices.Equal(worked, []string{"R1/1", "R1/2", "R3/1"}) {
			t.Errorf("worked for %v", worked)
		}
		if w := call(h, headers("R9"), ""); w.Code != 503 {
			t.Errorf("after its end: %d", w.Code)
		}
	})
}

// TestRefused: what servers will never take does not keep the result from being told, and is not told for ever.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		answer int
		body   string
		asked  int
	}{
		"a wrong token":  {401, `{"detail":"this is not the token"}`, 2},
		"a wrong report": {400, `{"detail":"wrong"}`, 2},
		"a proxy's":      {400, `<html>`, -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to := newServers()
				to.set(func(string) (int, string) { return c.answer, c.body })
				log := &bytes.Buffer{}
				s := newService(t, to, Options{Servers: []string{"https://own:8470"}, Log: slog.New(slog.NewTextHandler(log, nil))})
				call(s.Handler(func(_ context.Context, run *Run) (any, error) {
					run.Progress(1, "")
					return nil, nil
				}), headers("R1"), "")
				closed(t, s)
				if n := to.asked["own:8470"]; c.asked >= 0 && n > c.asked || c.asked < 0 && n < 10 || len(to.asked) != 1 {
					t.Errorf("asked %v", to.asked)
				}
				if text := log.String(); !strings.Contains(text, "result of a run not told") || strings.Contains(text, token) {
					t.Errorf("logged %s", text)
				}
			})
		})
	}
}

// TestBounds: what is logged faster than it is told leaves a gap and takes no more memory; a result that is too large, and a panic,
// are failures.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newServers()
		to.set(func(string) (int, string) { return 503, "" })
		s := newService(t, to, Options{})
		call(s.Handler(func(_ context.Context, run *Run) (any, error) {
			for range 1 << 10 {
				fmt.Fprint(run.Log(), strings.Repeat("x", 1<<10))
			}
			time.Sleep(time.Minute)
			if n := len(run.text); n > maxLog {
				t.Errorf("%d bytes wait", n)
			}
			to.set(nil)
			time.Sleep(time.Minute)
			fmt.Fprint(run.Log(), "the end")
			return strings.Repeat("x", maxResult), nil
		}), headers("R1"), "")
		call(s.Handler(func(context.Context, *Run) (any, error) { panic("oh") }), headers("R2"), "")
		call(s.Handler(func(context.Context, *Run) (any, error) { return nil, errors.New(strings.Repeat("é", maxText)) }), headers("R3"), "")
		closed(t, s)
		log, _, results := to.told("R1")
		if len(log) != 1<<20+len("the end") || !bytes.HasSuffix(log, []byte("\x00the end")) || len(results) != 1 ||
			!strings.Contains(results[0].Reason, "at most 49152") || results[0].State != "failed" {
			t.Errorf("%d bytes of log, %+v", len(log), results)
		}
		if _, _, results := to.told("R2"); len(results) != 1 || results[0].Reason != "panic: oh" {
			t.Errorf("%+v", results)
		}
		if _, _, results := to.told("R3"); len(results) != 1 || len(results[0].Reason) > maxText {
			t.Errorf("%+v", results)
		}
	})
}

// TestCloseInTime: who can't wait any longer ends the work, and gives up what is not told.
func TestCloseInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := newServers()
		to.set(func(string) (int, string) { return 503, "" })
		s := newService(t, to, Options{})
		call(s.Handler(func(ctx context.Context, _ *Run) (any, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}), headers("R1"), "")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		closed(t, s) // the work has heard of it
	})
}

// TestNoCall refuses what is no call of crony's.
func TestNoCall(t *testing.T) {
	s := newService(t, nil, Options{})
	h := s.Handler(func(context.Context, *Run) (any, error) {
		t.Error("it was worked on")
		return nil, nil
	})
	for key, value := range map[string]string{"Crony-Run-Id": "../x", "Crony-Token": "a b", "Crony-Attempt": "x", "Crony-Servers": "ftp://x",
		"Crony-Deadline": "", "Crony-Epoch": "", "Crony-Scheduled-At": "now"} {
		if w := call(h, headers("R1", key, value), ""); w.Code != 400 || !strings.Contains(w.Body.String(), strings.ToLower(key)) ||
			strings.Contains(w.Body.String(), token) {
			t.Errorf("%s: %d %s", key, w.Code, w.Body)
		}
	}
	if w := call(h, headers("R1"), strings.Repeat("x", maxBody+1)); w.Code != 413 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, opts := range []Options{{AtOnce: -1}, {Servers: []string{"s1:8470"}}} {
		if _, err := New(opts); err == nil {
			t.Errorf("%+v is taken", opts)
		}
	}
}

// TestStandardLibraryOnly: a service takes in nothing of crony's but this package.
func TestStandardLibraryOnly(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(out)); !slices.Equal(got, []string{"crony/sdk/callee"}) {
		t.Errorf("it imports %v", got)
	}
}

func FuzzFromMetadata(f *testing.F) {
	s, err := New(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("R1", token, "https://s1:8470,https://s2", "2027-01-01T13:00:00Z", "60", "1")
	f.Add("", "\n", ",", "x", "-1", "")
	f.Fuzz(func(t *testing.T, run, secret, list, deadline, timeout, attempt string) {
		h := map[string]string{"crony-run-id": run, "crony-token": secret, "crony-servers": list, "crony-deadline": deadline,
			"crony-timeout": timeout, "crony-attempt": attempt, "crony-epoch": "1", "crony-scheduled-at": "2027-01-01T12:00:00Z"}
		r, err := s.FromMetadata(func(key string) string { return h[key] })
		if err != nil {
			return
		}
		if _, err := http.NewRequest(http.MethodPost, r.servers[0]+"/api/v1/callbacks/"+r.ID, nil); err != nil {
			t.Error(err)
		}
	})
}
