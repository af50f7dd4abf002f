package webui

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/webui/api"

	"github.com/google/go-cmp/cmp"
)

const patience = 10 * time.Second // of tests, for what should take milliseconds

// event is one server-sent event without its id, or a comment, whose name is ":".
type event struct{ name, data string }

// source reads events from an open response.
type source struct {
	t    *testing.T
	resp *http.Response
	in   *bufio.Reader
	id   string // of the last event that had one
}

// open connects to a stream and waits for the comment with which it begins.
func open(t *testing.T, addr, path, token string, header ...string) *source {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	for key, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
	} {
		if resp.StatusCode != 200 || resp.Header.Get(key) != want {
			t.Fatalf("%d, %s %q", resp.StatusCode, key, resp.Header.Get(key))
		}
	}
	s := &source{t: t, resp: resp, in: bufio.NewReader(resp.Body)}
	if got := s.next(); got != (event{":", "open"}) {
		t.Fatalf("the stream begins with %v", got)
	}
	return s
}

// next returns the next event or comment; the zero event at the stream's end.
func (s *source) next() (e event) {
	s.t.Helper()
	for {
		line, err := s.in.ReadString('\n')
		if err == io.EOF && line == "" {
			return e
		}
		if err != nil {
			s.t.Fatalf("read stream: %v", err)
		}
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch {
		case key == "event":
			e.name = value
		case key == "data":
			e.data = value
		case key == "id":
			s.id = value
		case key == "" && value != "":
			e = event{":", value}
		default:
			return e
		}
	}
}

func TestOutput(t *testing.T) {
	r := newRig(t)
	id := r.runs.run.ID
	chunk := func(offset int64, text string) crony.Chunk {
		return crony.Chunk{Run: id, Attempt: 1, Stream: crony.Stdout, Offset: offset, At: noon, Data: []byte(text)}
	}
	r.runs.kept = []crony.Chunk{chunk(0, "hello\n"), chunk(100, "\x00\xff\n")}
	addr, _ := r.listen(t, nil)
	expect := func(s *source, want crony.Chunk) {
		t.Helper()
		var got crony.Chunk
		e := s.next()
		if err := json.Unmarshal([]byte(e.data), &got); err != nil || e.name != "chunk" {
			t.Fatalf("%v: %v", e, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	path := "/api/v1/runs/" + string(id) + "/output"

	kept := open(t, addr, path, "viewer")
	expect(kept, r.runs.kept[0])
	expect(kept, r.runs.kept[1])
	if got := kept.next(); got != (event{"end", "{}"}) {
		t.Errorf("it ends with %v", got)
	}
	if got := kept.next(); got != (event{}) {
		t.Errorf("after its end: %v", got)
	}

	live := open(t, addr, path+"?follow=true", "viewer")
	expect(live, r.runs.kept[0])
	expect(live, r.runs.kept[1])
	for i := range 3 {
		piece := chunk(int64(200+i), "x")
		r.runs.live <- piece
		expect(live, piece)
	}
	close(r.runs.live)
	if got := live.next(); got != (event{"end", "{}"}) {
		t.Errorf("it ends with %v", got)
	}
}

// TestOutputFromWhereItStopped goes on after an event, by the header that browsers send and by the parameter.
func TestOutputFromWhereItStopped(t *testing.T) {
	r := newRig(t)
	r.runs.kept = []crony.Chunk{
		{Run: r.runs.run.ID, Attempt: 1, Stream: crony.Stdout, At: noon, Data: []byte("hello world")},
		{Run: r.runs.run.ID, Attempt: 1, Stream: crony.Stderr, At: noon, Data: []byte("oops")},
	}
	addr, _ := r.listen(t, nil)
	path := "/api/v1/runs/" + string(r.runs.run.ID) + "/output"
	for _, ask := range []struct{ query, header string }{
		{"", "1o0-6"},
		{"?after=1o0-6", ""},
		{"?after=1o0-2", "1o0-6"}, // what a browser adds when it connects again by itself
	} {
		s := open(t, addr, path+ask.query, "viewer", "Last-Event-ID", ask.header)
		for _, want := range []struct{ text, id string }{{"world", "1o0-11"}, {"oops", "1o0-11,1e0-4"}} {
			chunk := decode[crony.Chunk](t, []byte(s.next().data))
			if string(chunk.Data) != want.text || s.id != want.id {
				t.Errorf("%v: %q with id %q, want %v", ask, chunk.Data, s.id, want)
			}
		}
		if got := s.next(); got != (event{"end", "{}"}) {
			t.Errorf("it ends with %v", got)
		}
	}
	got := r.do(t, call{method: "GET", path: "/api/v1/runs/" + string(r.runs.run.ID) + "/output?after=x", as: "viewer"})
	if p := got.problem(t); p.Code != api.Invalid {
		t.Errorf("%s", got.body)
	}
}

func TestOutputThatBreaksOff(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		code api.ProblemCode
		says string
	}{
		"for people": {
			fmt.Errorf("tail: %w", crony.Errorf(crony.Unavailable, "its agent is away")), api.Unavailable, "its agent is away",
		},
		"ours": {errInner, api.Internal, "something went wrong"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.runs.err = test.err
			addr, _ := r.listen(t, nil)
			s := open(t, addr, "/api/v1/runs/"+string(r.runs.run.ID)+"/output", "viewer")
			e := s.next()
			p := decode[api.Problem](t, []byte(e.data))
			if e.name != "problem" || p.Code != test.code || !strings.Contains(p.Detail, test.says) {
				t.Errorf("%v", e)
			}
			if got := s.next(); got != (event{}) {
				t.Errorf("after the problem: %v", got)
			}
		})
	}
}

func TestEvents(t *testing.T) {
	r := newRig(t)
	addr, _ := r.listen(t, nil)
	s := open(t, addr, "/api/v1/events", "viewer")
	<-r.events.subscribed
	run, err := json.Marshal(r.runs.run)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		sent Event
		want event
	}{
		{Event{Run: &r.runs.run}, event{"run", string(run)}},
		{Event{Job: "hello"}, event{"job", `{"name":"hello"}`}},
		{Event{Agent: "agent-1"}, event{"agent", `{"id":"agent-1"}`}},
		{Event{Reset: true}, event{"reset", "{}"}},
	} {
		r.events.in <- test.sent
		if got := s.next(); got != test.want {
			t.Errorf("%v, want %v", got, test.want)
		}
	}
}

// TestQuietStream: it shows signs of life, and a client that left is noticed by them.
func TestQuietStream(t *testing.T) {
	r := newRig(t)
	r.beat = 20 * time.Millisecond
	addr, stop := r.listen(t, nil)
	s := open(t, addr, "/api/v1/events", "viewer")
	subscription := <-r.events.subscribed
	for range 2 {
		if got := s.next(); got != (event{":", "alive"}) {
			t.Errorf("%v", got)
		}
	}
	s.resp.Body.Close()
	select {
	case <-subscription.Done():
	case <-time.After(patience):
		t.Error("nobody noticed that the client left")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestShutOut: a session that has ended takes its streams with it.
func TestShutOut(t *testing.T) {
	r := newRig(t)
	r.beat = 20 * time.Millisecond
	addr, _ := r.listen(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	url := "http://" + addr + "/api/v1/runs/" + string(r.runs.run.ID) + "/output?follow=true"
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(&http.Cookie{Name: cookieName, Value: "secret-viewer"})
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := r.access.SignOut(t.Context(), "secret-viewer"); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(text), "event: problem") || !strings.Contains(string(text), `"unauthorized"`) {
		t.Errorf("%v: %s", err, text)
	}
}

func TestHeadOpensNoStream(t *testing.T) {
	r := newRig(t)
	got := r.do(t, call{method: "HEAD", path: "/api/v1/events", as: "viewer"})
	if got.StatusCode != 200 || got.Header.Get("Content-Type") != "text/event-stream" || len(r.events.subscribed) != 0 {
		t.Errorf("%d %v, %d subscriptions", got.StatusCode, got.Header, len(r.events.subscribed))
	}
}
