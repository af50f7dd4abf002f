package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"crony"
	"crony/internal/durable"
)

// content names a version of a script.
type content struct{ name, hash string }

// contentOf returns the version that a script is. How long it may run makes no other version of it.
func contentOf(s *crony.Script) content {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s", s.Interpreter, s.Script))
	return content{s.Name, hex.EncodeToString(sum[:])}
}

// prepared remembers with which scripts the host was prepared, over the lives of the agents on it, and knows which run. A run
// is known by the journal, so that one of an earlier life that goes on is not started again. That a script has succeeded is
// on disk before its run has ended, so that whenever the agent dies in between, it is known: a script is run again only if
// how it ended can't be known. It is safe for concurrent use.
type prepared struct {
	path string
	log  *slog.Logger
	wake chan struct{} // holds something when there is news

	saving sync.Mutex // held while the file is written

	mu       sync.Mutex
	done     map[string]string       // by script, the version that succeeded last
	running  map[crony.RunID]content // runs that have not ended
	outcomes []outcome
}

// outcome is how a run of a script ended.
type outcome struct {
	content
	state  crony.RunState
	reason string
}

// openPrepared reads what is remembered in an agent's directory, and in its journal, and hears from then on of the ends of the
// runner's runs. What can't be read is not known: the scripts then run again.
func openPrepared(r *runner) *prepared {
	p := &prepared{path: filepath.Join(r.dir, "prepared"), log: r.log, wake: make(chan struct{}, 1), done: map[string]string{},
		running: map[crony.RunID]content{}}
	data, err := os.ReadFile(p.path)
	if err == nil {
		err = json.Unmarshal(data, &p.done)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.log.Error("it is not known how this host was prepared; scripts run again", "err", err)
		p.done = map[string]string{}
	}
	for _, rec := range r.journal.records() {
		if c := rec.facts[0].Claimed; c != nil && rec.terms.Prepares != "" && rec.last().Ended == nil {
			p.running[rec.last().Run] = content{c.By, rec.terms.Prepares}
		}
	}
	r.ending = p.ended
	return p
}

// has says whether the host was prepared with this version of a script, and with no other since.
func (p *prepared) has(c content) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done[c.name] == c.hash
}

// runs says whether a version of a script runs.
func (p *prepared) runs(c content) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(slices.Collect(maps.Values(p.running)), c)
}

// going returns the names of the scripts that run.
func (p *prepared) going() map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make(map[string]bool, len(p.running))
	for _, c := range p.running {
		names[c.name] = true
	}
	return names
}

// begin notes that a run is of a script, before it is written down.
func (p *prepared) begin(run crony.RunID, c content) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running[run] = c
}

// forget undoes begin.
func (p *prepared) forget(run crony.RunID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, run)
}

// news returns how runs of scripts have ended since it was last called.
func (p *prepared) news() []outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.outcomes
	p.outcomes = nil
	return list
}

// ended hears how a run is about to end, of whatever it is.
func (p *prepared) ended(run crony.RunID, state crony.RunState, reason string) {
	p.mu.Lock()
	c, ok := p.running[run]
	p.mu.Unlock()
	if !ok {
		return
	}
	if state == crony.Succeeded {
		p.remember(c)
	}
	p.mu.Lock()
	delete(p.running, run)
	p.outcomes = append(p.outcomes, outcome{c, state, reason})
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// remember writes down that a script has succeeded. If it can't be written, it is known until the agent ends.
func (p *prepared) remember(c content) {
	p.saving.Lock()
	defer p.saving.Unlock()
	p.mu.Lock()
	p.done[c.name] = c.hash
	data, err := json.Marshal(p.done)
	p.mu.Unlock()
	if err == nil {
		err = durable.WriteFile(p.path, data, 0o600)
	}
	if err != nil {
		p.log.Error("script that succeeded not written down; the next agent runs it again", "script", c.name, "err", err)
	}
}
