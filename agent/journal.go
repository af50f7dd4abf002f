package agent

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"crony"
)

// journal is what the agent knows of its runs until servers hold it: a file of frames (frame.go). Entries are written, not
// synced: they survive the agent, and not the loss of the host's power, which no run of the host survives either.
//
// What is asked for may be refused when the disk is full ([journal.add]); what has happened is known all the same, and is
// written when there is room again ([journal.keep]). So that this is for others to feel first, the file system keeps room for
// what comes ([journal.reserve]). When most of the file is of runs that are settled, it is written anew with the rest.
//
// Of settled runs it remembers the newest of each job: what was granted or ordered may be told of once more, by a server that
// has not heard of the run yet, and must not start again.
type journal struct {
	log  *slog.Logger
	path string

	mu      sync.Mutex
	file    journalFile
	size    int64  // of the whole frames in the file
	torn    bool   // more than that may be in it: a write stopped half way
	late    []byte // frames that could not be written yet
	live    map[crony.RunID]*record
	past    map[origin]crony.RunID // the newest settled run of each
	going   goings                 // by job
	kept    int64                  // bytes of the entries of live runs
	compact int64                  // the size at which the file is next looked at for settled runs
	ahead   int64                  // bytes that the file system is to keep for the file; 0: none
	backed  int64                  // up to here it does
	spared  bool                   // and as much for the file that takes its place
	poor    bool                   // it had not as much the last time
	futile  int64                  // bytes of live runs when the file was last written anew in vain for want of room; 0: it was not
	damaged bool                   // entries were lost, and not at the end: what became of a run need not be here
}

// journalFile is what a journal needs of its file.
type journalFile interface {
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Fd() uintptr
}

// entry is one thing to remember. Exactly one of Fact, Begins, Kill, Decided and Settled is set.
type entry struct {
	Fact    *crony.Fact         `json:"fact,omitempty"`
	Birth   *birth              `json:"birth,omitempty"`   // with a started fact
	Held    *held               `json:"held,omitempty"`    // likewise
	Terms   *terms              `json:"terms,omitempty"`   // with a claimed fact
	Job     packed              `json:"job,omitempty"`     // likewise, of one that was ordered or may be tried again: what it is of
	Asks    bool                `json:"asks,omitempty"`    // with a waiting fact: the servers say who makes the next attempt
	From    *crony.Continuation `json:"from,omitempty"`    // with a moved fact, as terms and job are
	Begins  crony.RunID         `json:"begins,omitempty"`  // a process of this run may start, and there is no file to say so
	Kill    *kill               `json:"kill,omitempty"`    // a run is to be ended
	Decided *decision           `json:"decided,omitempty"` // the servers have decided on runs that were started without a claim
	Settled crony.RunID         `json:"settled,omitempty"` // the servers have all of this run
	Of      *origin             `json:"of,omitempty"`      // whose it was, if the run's facts are not in the file any more
}

// origin is what runs come of.
type origin struct {
	Job     string        `json:"job"`
	Trigger crony.Trigger `json:"trigger"`
}

// decision says how runs that were started without a claim are delivered.
type decision struct {
	Stand  []crony.RunID `json:"stand,omitempty"`  // under their ids
	Double []crony.RunID `json:"double,omitempty"` // as doubles of the runs of these ids; see [crony.DoubleRunID]
}

// terms are what a run is held to, whoever holds it.
type terms struct {
	Limit   int64          `json:"limit"` // bytes kept of each stream
	Timeout crony.Duration `json:"timeout,omitempty"`
	Grace   crony.Duration `json:"grace"`
	Stop    bool           `json:"stop,omitempty"`  // it is killed when the servers may have given the agent up
	Asked   time.Duration  `json:"asked,omitempty"` // by CLOCK_BOOTTIME, when it was claimed, if that counts
	Boot    string         `json:"boot,omitempty"`  // the host's boot in which that was

	Hold  bool           `json:"hold,omitempty"` // no attempt but the first starts when the servers may have given the agent up
	Retry *crony.Retry   `json:"retry,omitempty"`
	Whole crony.Duration `json:"whole,omitempty"` // for all attempts, and the waits between them

	Prepares string `json:"prepares,omitempty"` // hash of the script that it is of; the claimed fact names the script
}

// kill is an order to end a run.
type kill struct {
	Run crony.RunID `json:"run"`
	crony.KillOrder
}

// record is all that the journal has of one run.
type record struct {
	facts  []crony.Fact
	birth  birth
	held   held
	terms  terms
	job    packed           // of a run that was ordered, or may be tried again
	begins bool             // a process of the next attempt may have started
	kill   *crony.KillOrder // it is to be ended
	bytes  int64

	asks bool                // the servers are asked who makes the next attempt
	from *crony.Continuation // another agent had it before, and this is how it goes on; its first fact is that one's

	decided bool        // the servers have decided on it, though it was started without a claim
	double  crony.RunID // under which it is delivered, if that is not its own
}

// last returns the run's newest fact. A record has one at least.
func (r *record) last() *crony.Fact { return &r.facts[len(r.facts)-1] }

// origin returns what the run came of; nil if that is not known.
func (r *record) origin() *origin {
	if len(r.facts) == 0 || r.facts[0].Claimed == nil {
		return nil
	}
	return originOf(r.facts[0].Claimed)
}

// originOf returns what a run came of. One in the place of another is of no claim, though it is of a schedule's occurrence.
func originOf(c *crony.ClaimedFact) *origin {
	if c.RerunOf != "" {
		return &origin{c.Job, "rerun"}
	}
	return &origin{c.Job, c.Trigger}
}

// jobName returns the name of the run's job, "" if that is not known.
func (r *record) jobName() string {
	if of := r.origin(); of != nil {
		return of.Job
	}
	return ""
}

// note brings the memory up to an entry of n bytes.
func (j *journal) note(e *entry, n int64) {
	if e.Settled != "" {
		of := e.Of
		if r := j.live[e.Settled]; r != nil {
			of = r.origin()
			j.kept -= r.bytes
			j.goes(r, e.Settled, false)
			delete(j.live, e.Settled)
		}
		if of != nil && e.Settled > j.past[*of] {
			j.past[*of] = e.Settled
		}
		return
	}
	if e.Decided != nil {
		j.decide(e.Decided, n)
		return
	}
	if r := j.live[e.Begins]; r != nil {
		r.begins = true
		r.bytes += n
		j.kept += n
	}
	if e.Kill != nil {
		j.noteKill(e.Kill, n)
	}
	if e.Fact == nil {
		return
	}
	if e.Fact.Moved != nil {
		j.noteMoved(e, n)
		return
	}
	r := j.live[e.Fact.Run]
	if r == nil {
		r = &record{terms: terms{Limit: int64(crony.DefaultOutputLimit), Grace: crony.DefaultKillGrace}}
		j.live[e.Fact.Run] = r
	}
	r.facts = append(r.facts, *e.Fact)
	r.begins = r.begins && e.Fact.Waiting == nil
	r.asks = e.Asks
	j.goes(r, e.Fact.Run, e.Fact.Ended == nil)
	r.bytes += n
	j.kept += n
	if e.Birth != nil {
		r.birth = *e.Birth
	}
	if e.Held != nil {
		r.held = *e.Held
	}
	if e.Terms != nil {
		r.terms, r.job = *e.Terms, e.Job
	}
}

// noteKill keeps the first order for a run that goes on.
func (j *journal) noteKill(k *kill, n int64) {
	if r := j.live[k.Run]; r != nil && r.kill == nil {
		r.kill = &k.KillOrder
		r.bytes += n
		j.kept += n
	}
}

// ended says whether a run of this agent has ended, and only its end is not with the servers yet.
func (j *journal) ended(run crony.RunID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.live[run]
	return r != nil && r.last().Ended != nil
}

// add writes an entry, or returns why it can't; then nothing has changed. The entry that it returns has its fact's number:
// facts are numbered in the order in which they come.
func (j *journal) add(e entry) (entry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	data, err := j.encode(&e)
	if err == nil {
		err = j.write(data, false)
	}
	if err != nil {
		return e, fmt.Errorf("write the journal: %w", err)
	}
	j.note(&e, int64(len(data)))
	return e, nil
}

// keep is add for what has happened. The error says why it is not in the file yet; it is known, and goes there later.
func (j *journal) keep(e entry) (entry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	data, err := j.encode(&e)
	if err != nil {
		return e, err
	}
	j.note(&e, int64(len(data)))
	if err := j.write(data, true); err != nil {
		j.late = append(j.late, data...)
		return e, fmt.Errorf("write the journal: %w", err)
	}
	if e.Settled != "" {
		j.tidy()
	}
	return e, nil
}

// flush writes what could not be written before.
func (j *journal) flush() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.write(nil, true)
}

// encode numbers the entry's fact, unless a server has, and frames the entry.
func (j *journal) encode(e *entry) ([]byte, error) {
	if e.Fact != nil && e.Fact.Moved == nil {
		fact := *e.Fact
		fact.Seq = 1
		if r := j.live[fact.Run]; r != nil {
			fact.Seq = r.last().Seq + 1
		}
		e.Fact = &fact
	}
	return frame(e)
}

// liveEntries yields what the file must hold: what is remembered of runs that are settled, and the others run by run.
func (j *journal) liveEntries() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for of, run := range j.past {
			if !yield(&entry{Settled: run, Of: &of}) {
				return
			}
		}
		for _, id := range slices.Sorted(maps.Keys(j.live)) {
			r := j.live[id]
			for i := range r.facts {
				e := &entry{Fact: &r.facts[i], Asks: r.asks && i == len(r.facts)-1}
				if e.Fact.Claimed != nil && r.from != nil {
					continue // it is the beginning of how it goes on
				}
				if e.Fact.Moved != nil {
					e.Terms, e.Job, e.From = &r.terms, r.job, r.from
				}
				if e.Fact.Started != nil {
					e.Birth, e.Held = &r.birth, &r.held
				}
				if e.Fact.Claimed != nil {
					e.Terms, e.Job = &r.terms, r.job
				}
				if !yield(e) {
					return
				}
			}
			if r.begins && !yield(&entry{Begins: id}) {
				return
			}
			if r.kill != nil && !yield(&entry{Kill: &kill{id, *r.kill}}) {
				return
			}
			if d := r.decision(id); d != nil && !yield(&entry{Decided: d}) {
				return
			}
		}
	}
}

// knows says whether the run is in the journal.
func (j *journal) knows(id crony.RunID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.live[id] != nil
}

// knew says whether the run is in the journal, or was: the newest of its origin that is settled.
func (j *journal) knew(id crony.RunID, of origin) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.live[id] != nil || j.past[of] == id
}

// forget drops what is remembered of jobs that the agent has no more, if their last run was due before a time: until then
// a server may still be about to find out that the agent has them.
func (j *journal) forget(has func(job string) bool, before time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	maps.DeleteFunc(j.past, func(of origin, run crony.RunID) bool { return !has(of.Job) && run.Time().Before(before) })
}

// count returns how many runs the agent answers for.
func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.live)
}

// runs returns the ids, as the servers know them, of the runs that the agent answers for.
func (j *journal) runs() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	ids := make([]string, 0, len(j.live))
	for id, r := range j.live {
		ids = append(ids, string(cmp.Or(r.double, id)))
	}
	return ids
}

// records returns what there is of each run, in the order of their ids.
func (j *journal) records() []record {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]record, 0, len(j.live))
	for _, id := range slices.Sorted(maps.Keys(j.live)) {
		r := *j.live[id]
		r.facts = slices.Clone(r.facts)
		list = append(list, r)
	}
	return list
}

// bytes returns what the journal takes of the disk, with what is kept free for it.
func (j *journal) bytes() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	taken := max(j.size, j.backed)
	if j.spared {
		taken += j.ahead
	}
	return taken
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.write(nil, true), j.file.Close())
}
