package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestServe calls the service as an agent does, and is told what it counts, to the end.
func TestServe(t *testing.T) {
	var mu sync.Mutex
	var told strings.Builder
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/api/v1/callbacks/R1" || r.Header.Get("Authorization") != "Bearer t" {
			t.Errorf("%v %s %v", err, r.URL, r.Header)
		}
		mu.Lock()
		defer mu.Unlock()
		if told.Write(body); strings.Contains(string(body), `"result"`) {
			close(over)
		}
		io.WriteString(w, "{}")
	}))
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, l, "", slog.New(slog.DiscardHandler)) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+l.Addr().String()+"/jobs/count", nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{"Crony-Job": "count", "Crony-Run-Id": "R1", "Crony-Attempt": "1", "Crony-Epoch": "1",
		"Crony-Scheduled-At": "2027-01-01T12:00:00Z", "Crony-Deadline": "2027-01-01T12:30:00Z", "Crony-Timeout": "60", "Crony-Token": "t",
		"Crony-Servers": server.URL} {
		req.Header.Set(key, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Fatal(resp.Status)
	}
	select {
	case <-over:
	case <-time.After(50 * time.Second):
		t.Error("there was no result in time")
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{`counted 10\n`, `"percent":100`, `{"counted":10}`, `"succeeded"`} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("%s is not in what was told: %s", want, told.String())
		}
	}
}
