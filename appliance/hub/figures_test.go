package hub

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"crony"
	"crony/internal/wire"
)

func figures(text string) *wire.FromAgent {
	return &wire.FromAgent{Kind: &wire.FromAgent_Figures{Figures: &wire.Figures{Figures: []byte(text)}}}
}

func isWatched(msg *wire.FromServer) bool { return msg.GetWatched() != nil }

// TestWatchedHost: an agent hears that somebody looks at its host, on each of its streams anew, and what it tells is seen; what it
// tells too often is left out.
func TestWatchedHost(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	type answer struct {
		crony.HostFigures
		err error
	}
	look := func() <-chan answer {
		got := make(chan answer, 1)
		go func() {
			f, err := s.state.AgentFigures(t.Context(), "a1")
			got <- answer{f, err}
		}()
		return got
	}
	first := look()
	if !p.until(isWatched).GetWatched().GetOn() {
		t.Error("nobody looks")
	}
	p.send(figures(`{"cpus":3,"a key of a newer agent":1}`), figures(`{"cpus":4}`))
	if got := <-first; got.err != nil || got.CPUs != 3 {
		t.Errorf("%+v", got)
	}
	p.leave()

	p = s.connect("a1")
	if !p.until(isWatched).GetWatched().GetOn() {
		t.Error("on the next stream nobody looks")
	}
	if got := <-look(); got.err != nil || got.CPUs != 3 {
		t.Errorf("what came too soon was shown: %+v", got)
	}
}

// TestFiguresUnasked: what an agent tells of its host while nobody looks is written nowhere.
func TestFiguresUnasked(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	p.send(figures(`{"cpus":3}`))
	p.acked(1, life("a1", newRun())) // has been sent after it
	if s.state.Watched("a1") {
		t.Error("somebody looks")
	}
	began := time.Now()
	look := make(chan error, 1)
	go func() {
		_, err := s.state.AgentFigures(t.Context(), "a1")
		look <- err
	}()
	p.until(isWatched)
	if err := <-look; crony.CodeOf(err) != crony.Unavailable || time.Since(began) < time.Second {
		t.Errorf("an agent that says nothing: %v", err)
	}
}

func TestFiguresRefused(t *testing.T) {
	s := newServer(t)
	p := s.connect("a1")
	p.send(figures(`{"disk_dir":"` + strings.Repeat("x", maxFigures) + `"}`))
	p.refused(codes.InvalidArgument, "says 8207 bytes of its host")
	p = s.connect("a1")
	p.send(figures(`[]`))
	p.refused(codes.InvalidArgument, "decode")
}
