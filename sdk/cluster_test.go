package sdk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func TestClusterRequests(t *testing.T) {
	var line, body string
	c := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		line, body = r.Method+" "+r.RequestURI, string(data)
		if len(data) > 0 && r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: a body of type %q", line, r.Header.Get("Content-Type"))
		}
		switch {
		case r.URL.Path == "/api/v1/join-tokens" && r.Method == http.MethodPost:
			answer(201, "application/json", `{"id":"t1","secret":"s"}`)(w, r)
		case r.Method == http.MethodGet:
			answer(200, "application/json", `{"items":[{"id":"t1"}],"quorum":2}`)(w, r)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	}})
	ctx := t.Context()
	for want, call := range map[string]func() error{
		"GET /api/v1/cluster ": func() error {
			status, err := c.ClusterStatus(ctx)
			if status.Quorum != 2 {
				t.Errorf("got %+v", status)
			}
			return err
		},
		"DELETE /api/v1/cluster/servers/a%2Fb ":                         func() error { return c.RemoveServer(ctx, "a/b") },
		"POST /api/v1/cluster/servers/a/promote ":                       func() error { return c.PromoteServer(ctx, "a") },
		"POST /api/v1/cluster/transfer {}":                              func() error { return c.TransferLeadership(ctx, "") },
		`POST /api/v1/cluster/transfer {"server":"a"}`:                  func() error { return c.TransferLeadership(ctx, "a") },
		`POST /api/v1/cluster/authority {"step":"start"}`:               func() error { return c.RotateAuthority(ctx, crony.RotateStart, false) },
		`POST /api/v1/cluster/authority {"step":"finish","force":true}`: func() error { return c.RotateAuthority(ctx, crony.RotateFinish, true) },
		"DELETE /api/v1/agents/a ":                                      func() error { return c.RemoveAgent(ctx, "a") },
		`POST /api/v1/join-tokens {"for":"agent","ttl":"1h30m","uses":3}`: func() error {
			token, err := c.CreateJoinToken(ctx, crony.JoinTokenSpec{
				For: crony.JoinAgent, TTL: crony.Duration(90 * time.Minute), Uses: 3})
			if token.Secret != "s" {
				t.Errorf("got %+v", token)
			}
			return err
		},
		"GET /api/v1/join-tokens ": func() error {
			tokens, err := c.ListJoinTokens(ctx)
			if len(tokens) != 1 || tokens[0].ID != "t1" {
				t.Errorf("got %+v", tokens)
			}
			return err
		},
		"DELETE /api/v1/join-tokens/t1 ": func() error { return c.DeleteJoinToken(ctx, "t1") },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if got := line + " " + body; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestBackup(t *testing.T) {
	var query string
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/backup": func(w http.ResponseWriter, r *http.Request) {
		query = r.URL.RawQuery
		answer(200, "application/octet-stream", "archive")(w, r)
	}})
	for want, recipients := range map[string][]string{"": nil, "recipient=age1a&recipient=age1b": {"age1a", "age1b"}} {
		var b bytes.Buffer
		if err := c.Backup(t.Context(), &b, recipients); err != nil || b.String() != "archive" {
			t.Errorf("%q, %v", b.String(), err)
		}
		if diff := cmp.Diff(want, query); diff != "" {
			t.Error(diff)
		}
	}
}

var errFull = errors.New("no space left on device")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// TestBackupThatIsNone: what is no whole archive is an error, and which one tells whose fault it is.
func TestBackupThatIsNone(t *testing.T) {
	broken := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		io.WriteString(w, "arch")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}})
	var b bytes.Buffer
	wantUnavailable(t, broken.Backup(t.Context(), &b, nil), "broke off")
	if err := broken.Backup(t.Context(), full{}, nil); !errors.Is(err, errFull) || crony.CodeOf(err) != crony.Internal {
		t.Errorf("the disk is full: %v", err)
	}
	refused := serve(t, map[string]http.HandlerFunc{"/": answer(403, "application/problem+json",
		`{"code":"forbidden","detail":"this takes the role admin"}`)})
	if err := refused.Backup(t.Context(), &b, nil); crony.CodeOf(err) != crony.Forbidden {
		t.Errorf("refused: %v", err)
	}
	page := serve(t, map[string]http.HandlerFunc{"/": answer(200, "text/html", "sign in here")})
	wantUnavailable(t, page.Backup(t.Context(), &b, nil), "text/html")
	if b.String() != "arch" {
		t.Errorf("written: %q", b.String())
	}
}

// TestBackupHasNoTimeout: it takes longer than a call may, and ends when its caller does.
func TestBackupHasNoTimeout(t *testing.T) {
	release := make(chan struct{})
	c := serve(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		io.WriteString(w, "arch")
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}})
	c.timeout = time.Millisecond
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the caller has enough")
	defer close(release)
	if err := c.Backup(ctx, writerFunc(func(p []byte) (int, error) {
		time.AfterFunc(20*time.Millisecond, func() { cancel(why) })
		return len(p), nil
	}), nil); !errors.Is(err, why) || strings.Contains(err.Error(), "within 1ms") {
		t.Errorf("got %v, want the caller's cause", err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
