package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// streams is a handler that gives one stream of events.
func streams(body string) map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{"GET /api/v1/runs/{id}/output": answer(200, "text/event-stream", body)}
}

// read collects a run's output as text, with the error at its end.
func read(c *Client) (string, error) {
	var b strings.Builder
	for chunk, err := range c.Output(context.Background(), "R", false) {
		if err != nil {
			return b.String(), err
		}
		fmt.Fprintf(&b, "%s@%d=%s;", chunk.Stream, chunk.Offset, chunk.Data)
	}
	return b.String(), nil
}

const (
	hello = "event: chunk\ndata: {\"run\":\"R\",\"attempt\":1,\"stream\":\"stdout\",\"offset\":0,\"data\":\"aGVsbG8=\"}\n\n"
	oops  = "event: chunk\r\ndata: {\"run\":\"R\",\"attempt\":1,\r\ndata: \"stream\":\"stderr\",\"offset\":9,\"data\":\"b29wcw==\"}\r\n\r\n"
	end   = "event: end\ndata: {}\n\n"
)

func TestOutput(t *testing.T) {
	for _, tt := range []struct {
		name, stream, want string
		code               crony.Code
	}{
		{"nothing", end, "", ""},
		{"two pieces", hello + oops + end, "stdout@0=hello;stderr@9=oops;", ""},
		{"comments and unknown events", ":\n\n: alive\n\n" + hello + "event: news\ndata: 1\n\nid: 4\nretry: 10\n\n" + end, "stdout@0=hello;", ""},
		{"an end without data", "event: end\n\n", "", ""},
		{"nothing after the end is read", end + hello, "", ""},
		{"a problem", hello + "event: problem\ndata: {\"code\":\"internal\",\"detail\":\"the disk is gone\"}\n\n", "stdout@0=hello;", crony.Internal},
		{"broken off between events", hello, "stdout@0=hello;", crony.Unavailable},
		{"broken off in an event", hello + hello[:30], "stdout@0=hello;", crony.Unavailable},
		{"broken off before the end's empty line", hello + "event: end\n", "stdout@0=hello;", crony.Unavailable},
		{"not a chunk", "event: chunk\ndata: what\n\n", "", crony.Unavailable},
		{"not a problem", "event: problem\ndata: {}\n\n", "", crony.Unavailable},
		{"a line without an end", "data: " + strings.Repeat("x", maxEvent+1), "", crony.Unavailable},
		{"an event without an end", strings.Repeat("data: "+strings.Repeat("x", 1<<20)+"\n", 9), "", crony.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := read(serve(t, streams(tt.stream)))
			if got != tt.want || crony.CodeOf(err) != tt.code {
				t.Errorf("got %q, %v; want %q, code %q", got, err, tt.want, tt.code)
			}
		})
	}
}

func TestOutputOfNoRun(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{
		"/": answer(404, "application/problem+json", `{"code":"not_found","detail":"there is no run R"}`)})
	if _, err := read(c); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestOutputStops(t *testing.T) {
	left := make(chan struct{})
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/runs/R/output": func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("follow") != "true" {
			t.Errorf("not followed: %s", r.RequestURI)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, hello)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		left <- struct{}{}
	}})
	t.Run("when the caller breaks", func(t *testing.T) {
		for range c.Output(t.Context(), "R", true) {
			break
		}
		<-left
	})
	t.Run("when the context ends", func(t *testing.T) {
		why := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		var last error
		for _, err := range c.Output(ctx, "R", true) {
			last = err
			cancel(why)
		}
		if !errors.Is(last, why) {
			t.Errorf("got %v, want the cause", last)
		}
		<-left
	})
}

func TestPages(t *testing.T) {
	pages := map[string]string{
		"":  `{"items":[{"id":"3","state":"running"}],"next":"b"}`,
		"b": `{"items":[{"id":"2","attempts":[{"number":1,"exit_code":7}]}]}`,
	}
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/runs": func(w http.ResponseWriter, r *http.Request) {
		answer(200, "application/json", pages[r.URL.Query().Get("cursor")])(w, r)
	}})
	var ids []crony.RunID
	q := crony.RunQuery{}
	for {
		page, err := c.ListRuns(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range page.Items {
			ids = append(ids, run.ID)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([]crony.RunID{"3", "2"}, ids); diff != "" {
		t.Error(diff)
	}
}

// FuzzEvents holds that no stream makes the reader panic or go on for ever, whatever the pieces in which it arrives.
func FuzzEvents(f *testing.F) {
	for _, stream := range []string{hello + end, oops, ":\n\n\n", "data\n\n", "event\ndata:\n\n"} {
		f.Add(stream)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		all := func(r io.Reader) (out []string) {
			events := newEventReader(r)
			for {
				e, err := events.next()
				if err != nil {
					return append(out, err.Error())
				}
				out = append(out, e.name+"="+string(e.data))
			}
		}
		whole, pieces := all(strings.NewReader(stream)), all(iotest.OneByteReader(strings.NewReader(stream)))
		if diff := cmp.Diff(whole, pieces); diff != "" {
			t.Error(diff)
		}
	})
}

func TestListRunsAsksForAll(t *testing.T) {
	var asked string
	c := serve(t, map[string]http.HandlerFunc{"GET /api/v1/runs": func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RawQuery
		answer(200, "application/json", `{"items":[],"count":{"runs":3,"more":true}}`)(w, r)
	}})
	page, err := c.ListRuns(t.Context(), crony.RunQuery{
		Job: "j", Agent: "a", State: crony.Lost, Group: "g", Trigger: crony.ByHand, Labels: map[string]string{"b": "", "a": "x=y"},
		From: time.Date(2027, 1, 1, 0, 0, 0, 5, time.UTC), To: time.Date(2027, 2, 1, 1, 0, 0, 0, time.FixedZone("", 3600)),
		Longer: 90 * time.Second, Shorter: 36 * time.Hour, Count: true, Limit: 5, Cursor: "c",
	})
	if err != nil || page.Count == nil || *page.Count != (crony.RunCount{Runs: 3, More: true}) {
		t.Errorf("%+v, %v", page, err)
	}
	want := "agent=a&count=true&cursor=c&from=2027-01-01T00%3A00%3A00.000000005Z&group=g&job=j&label=a%3Dx%3Dy&label=b%3D&limit=5" +
		"&longer=1m30s&shorter=36h0m0s&state=lost&to=2027-02-01T00%3A00%3A00Z&trigger=manual"
	if asked != want {
		t.Errorf("asked for\n%s, want\n%s", asked, want)
	}
}
