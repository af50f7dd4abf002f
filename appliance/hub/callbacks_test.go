package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"crony"
	"crony/appliance/callbacks"
)

// callback tells of a run by way of this server.
func (s *server) callback(id crony.RunID, token string, events ...crony.CalleeEvent) crony.CalleeAnswer {
	s.t.Helper()
	c, err := callbacks.New(callbacks.Options{State: s.state, Runs: s.runs, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Error(err)
		return crony.CalleeAnswer{}
	}
	answer, err := c.Take(s.t.Context(), id, token, crony.CalleeReport{Attempt: 1, Events: events})
	if err != nil {
		s.t.Error(err)
	}
	return answer
}

// TestAnsweredAcrossRestarts answers a thousand runs by way of every server while one after the other is restarted, the one that
// holds the agent's stream, and the agent is told of each.
func TestAnsweredAcrossRestarts(t *testing.T) {
	const runs = 1000
	s := newServer(t)
	servers := []*server{s, s.another("s2"), s.another("s3")}
	ids, open := make([]crony.RunID, runs), map[crony.RunID]bool{}
	token := func(id crony.RunID) string { return "token of " + string(id) }
	p := s.connect("a1")
	var facts []crony.Fact
	for i := range ids {
		ids[i] = newRun()
		open[ids[i]] = true
		sum := sha256.Sum256([]byte(token(ids[i])))
		of := calls("a1", ids[i], time.Now().Add(time.Hour))
		of[1].Started.Callback = hex.EncodeToString(sum[:])
		facts = append(facts, of...)
	}
	for i := 0; i < len(facts); i += 300 {
		p.acked(uint64(i+1), facts[i:i+300])
	}
	told, report := 0, uint64(1<<20)
	for k, held := range servers {
		next := servers[(k+1)%len(servers)]
		var telling errgroup.Group
		telling.SetLimit(64)
		for ; told < runs*(k+1)/len(servers); told++ {
			id, by, e := ids[told], next, crony.CalleeEvent{Seq: 1, At: time.Now(), Result: &crony.CalleeResult{State: crony.Succeeded,
				Data: fmt.Appendf(nil, `{"number":%d}`, told)}}
			if told%2 == 0 {
				by = held
			}
			telling.Go(func() error {
				by.callback(id, token(id), e)
				next.callback(id, token(id), e) // the answer was lost
				return nil
			})
		}
		telling.Wait()
		held.stop()
		servers[k] = s.another(fmt.Sprintf("s%d", k+1)) // the next in its place
		var knows []string
		for id := range open {
			knows = append(knows, string(id))
		}
		p = next.connect("a1", knows...)
		var ends []crony.Fact
		for len(open) > runs-told {
			a := p.until(isAnswer).GetAnswer()
			id := crony.RunID(a.GetRun())
			if a.GetState() != "succeeded" || a.GetAttempt() != 1 {
				t.Fatalf("told %v", a)
			}
			if !open[id] { // it was told on this stream before
				continue
			}
			delete(open, id)
			ends = append(ends, crony.Fact{Run: id, Seq: 4, At: time.Now().UTC(), Ended: &crony.EndedFact{State: crony.Succeeded}})
		}
		report++
		p.acked(report, ends)
	}
	for i, id := range ids {
		run, err := s.runs.Log.Run(t.Context(), id)
		if err != nil || run.State != crony.Succeeded || string(run.Result) != fmt.Sprintf(`{"number":%d}`, i) {
			t.Fatalf("run %d is %s with %s: %v", i, run.State, run.Result, err)
		}
	}
	last := servers[0]
	last.eventually("nothing to be left", func() bool { return len(last.state.Procs()) == 0 })
	if a := last.callback(ids[0], token(ids[0]), crony.CalleeEvent{Seq: 2, At: time.Now(), Result: &crony.CalleeResult{State: crony.Failed}}); a.Stop == "" {
		t.Error("a late result is answered as if it were none")
	}
}
