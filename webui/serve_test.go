package webui

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"crony/webui/api"

	"github.com/google/go-cmp/cmp"
)

// TestStoppingEndsStreamsFirst: open streams must not hold up the end, and their clients are told.
func TestStoppingEndsStreamsFirst(t *testing.T) {
	r := newRig(t)
	addr, stop := r.listen(t, nil)
	events := open(t, addr, "/api/v1/events", "viewer")
	<-r.events.subscribed
	output := open(t, addr, "/api/v1/runs/"+string(r.runs.run.ID)+"/output?follow=true", "viewer")
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > drainTimeout/2 {
		t.Errorf("stopping took %s", took)
	}
	if got := events.next(); got != (event{}) {
		t.Errorf("events end with %v", got)
	}
	last := output.next()
	if p := decode[api.Problem](t, []byte(last.data)); last.name != "problem" || p.Code != api.Unavailable {
		t.Errorf("the output ends with %v", last)
	}
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the listener is still open")
	}
}

// TestStoppingLetsRequestsFinish: what was begun is answered.
func TestStoppingLetsRequestsFinish(t *testing.T) {
	inside, release := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(o *Options) {
		o.Facts = func(ctx context.Context) (Facts, error) {
			close(inside)
			<-release
			return Facts{ID: "s1"}, ctx.Err()
		}
	})
	addr, stop := r.listen(t, nil)
	status := make(chan string, 1)
	go func() { status <- get("http://"+addr+"/api/v1/server", "viewer") }()
	<-inside
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // until nobody is let in any more
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		conn.Close()
	}
	close(release)
	if got := <-status; got != "200 OK" {
		t.Errorf("the request under way: %s", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestStoppingIsBounded: neither a handler that hangs, nor a client that takes nothing, nor one that never asks anything.
func TestStoppingIsBounded(t *testing.T) {
	inside := make(chan struct{})
	r := newRig(t, func(o *Options) {
		o.Facts = func(ctx context.Context) (Facts, error) {
			close(inside)
			<-ctx.Done()
			return Facts{}, context.Cause(ctx)
		}
	})
	r.grace = 300 * time.Millisecond
	addr, stop := r.listen(t, nil)
	silent, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	stuffed := stuff(t, r, addr)
	defer stuffed.Close()
	go get("http://"+addr+"/api/v1/server", "viewer")
	<-inside
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("stopping took %s", took)
	}
	if !strings.Contains(r.log.String(), "did not end in time") {
		t.Errorf("the log does not tell:\n%s", r.log)
	}
}

// stuff opens a stream, reads nothing of it and sends until nothing more fits.
func stuff(t *testing.T, r *rig, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /api/v1/events HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer viewer\r\n\r\n", addr)
	<-r.events.subscribed
	big := Event{Job: strings.Repeat("x", 1<<20)}
	for {
		select {
		case r.events.in <- big:
		case <-time.After(200 * time.Millisecond):
			return conn
		}
	}
}

func TestServeAfterTheEnd(t *testing.T) {
	r := newRig(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Serve(ctx, ln); err != nil {
		t.Error(err)
	}
	r = newRig(t)
	if err := r.Serve(t.Context(), ln); err == nil {
		t.Error("no error from a listener that is closed")
	}
}

// TestKeptValues: over one connection, what was kept of a request must not change with the next one.
func TestKeptValues(t *testing.T) {
	r := newRig(t)
	addr, _ := r.listen(t, nil)
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	send := func(method, path, cookie string) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.AddCookie(&http.Cookie{Name: cookieName, Value: cookie})
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	var want []string
	for _, letter := range []string{"a", "b", "c", "d"} {
		word := strings.Repeat(letter, 20)
		send("GET", "/api/v1/session", word)
		send("GET", "/api/v1/jobs?q="+word, "secret-admin")
		send("DELETE", "/api/v1/jobs/"+word, "secret-admin")
		want = append(want, word, "secret-admin", word, "secret-admin", word)
	}
	if diff := cmp.Diff(want, r.heard.words); diff != "" {
		t.Errorf("the words changed after they were heard:\n%s", diff)
	}
}

// TestStoppingClosesUnusedConnections: browsers open some in advance, on which nothing is ever asked.
func TestStoppingClosesUnusedConnections(t *testing.T) {
	r := newRig(t)
	addr, stop := r.listen(t, nil)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := get("http://"+addr+"/livez", ""); got != "200 OK" { // so that the one before was accepted
		t.Fatal(got)
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > drainTimeout/2 {
		t.Errorf("stopping took %s", took)
	}
}

// TestOversized: the answer arrives although the request was not read to its end, over either kind of connection.
func TestOversized(t *testing.T) {
	for name, wrap := range map[string]func(net.Listener) net.Listener{"http": nil, "https": secured} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			addr, _ := r.listen(t, wrap)
			client := trusting()
			defer client.CloseIdleConnections()
			for range 5 {
				body := bytes.Repeat([]byte("#"), 3*bodyLimit)
				req, err := http.NewRequest("POST", name+"://"+addr+"/api/v1/apply", bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 413 || !strings.Contains(string(text), `"code":"too_large"`) {
					t.Fatalf("%v: %d %s", err, resp.StatusCode, text)
				}
			}
		})
	}
}

// TestForwardedHeadersAreNotTrusted: nobody makes a plain connection secure, or another's address theirs, by a header.
func TestForwardedHeadersAreNotTrusted(t *testing.T) {
	r := newRig(t)
	got := r.do(t, call{method: "POST", path: "/api/v1/session", body: `{"token":"viewer"}`, header: http.Header{
		"X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil.test"}, "Origin": {"http://evil.test"},
	}})
	if got.StatusCode != 403 || got.Header.Get("Strict-Transport-Security") != "" {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
}

// get returns the status of a GET, or why there is none.
func get(url, token string) string {
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return err.Error()
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := trusting()
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	resp.Body.Close()
	return resp.Status
}
