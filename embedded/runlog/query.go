package runlog

import (
	"bytes"
	"context"
	"fmt"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/bbolt"

	"crony"
)

// What one page may cost: so many index entries, of which opening a day's file counts as some. A page that reaches it is
// shorter than asked, or empty, and goes on with its cursor.
const (
	pageBudget = 10_000
	dayCost    = 100
)

// Run returns one run; NotFound if there is none, Invalid if id has not the form of a run's id.
func (l *Log) Run(ctx context.Context, id crony.RunID) (crony.Run, error) {
	if err := l.alive(ctx); err != nil {
		return crony.Run{}, err
	}
	k, err := parseID(id)
	if err != nil {
		return crony.Run{}, err
	}
	run, found, err := l.load(k)
	if err != nil {
		return crony.Run{}, err
	}
	if !found {
		return crony.Run{}, crony.Errorf(crony.NotFound, "there is no run %s", id).
			WithHint("it may be too old to be kept; `crony run list` shows the runs there are")
	}
	return run, nil
}

func (l *Log) load(k runKey) (run crony.Run, found bool, err error) {
	err = l.days.view(k.day(), func(tx *bbolt.Tx) (err error) {
		run, found, err = readRun(tx, k)
		return err
	})
	if err != nil {
		return run, false, fmt.Errorf("read run %s: %w", k.id(), err)
	}
	return run, found, nil
}

func readRun(tx *bbolt.Tx, k runKey) (run crony.Run, found bool, err error) {
	value := tx.Bucket([]byte(bucketRuns)).Get(k[:])
	if value == nil {
		return run, false, nil
	}
	if err := decodeJSON(value, &run); err != nil {
		return run, false, unreadable(k, err)
	}
	return run, true, nil
}

func unreadable(k runKey, err error) error {
	return &crony.Error{
		Code: crony.Internal, Message: fmt.Sprintf("what is stored of run %s can't be read", k.id()), Err: err,
	}
}

// LastRun returns a job's newest run, and false if it has none or the log is closed. The first call for a job reads one key
// of each day file, from the newest on, until a run is found; after that it is known. A file that can't be read is logged,
// and counts as one without runs for this call.
func (l *Log) LastRun(job string) (crony.Run, bool) {
	if l.closed() {
		return crony.Run{}, false
	}
	n := l.mem.newestOf(job)
	if !n.sure {
		n = l.findNewest(job)
	}
	if !n.any {
		return crony.Run{}, false
	}
	run, found, err := l.load(n.run)
	if err != nil {
		l.log.Error("a job's last run can't be read", "job", job, "run", n.run.id(), "err", err)
	}
	return run, found
}

func (l *Log) findNewest(job string) newest {
	prefix := indexPrefix(indexJob, job)
	found := newest{sure: true}
	for _, day := range l.days.newestFirst() {
		err := l.days.view(day, func(tx *bbolt.Tx) error {
			found.run, found.any = walk{tx.Bucket([]byte(bucketIndex)).Cursor(), prefix}.before(highest())
			return nil
		})
		if err != nil {
			l.log.Error("a day can't be searched for a job's last run", "job", job, "day", day.String(), "err", err)
			found.sure = false
		}
		if found.any {
			break
		}
	}
	return l.mem.learnNewest(job, found)
}

// ListRuns returns runs, the newest first. Its cost is bounded: a page may be shorter than asked, or empty, and still have a
// next one. The cursor is a place in the order of the ids, so runs that are added meanwhile neither double nor hide others.
func (l *Log) ListRuns(ctx context.Context, q crony.RunQuery) (crony.RunPage, error) {
	if err := l.alive(ctx); err != nil {
		return crony.RunPage{}, err
	}
	p, err := newPage(q)
	if err != nil {
		return crony.RunPage{}, err
	}
	for _, day := range l.days.newestFirst() {
		if day > p.before.day() {
			continue
		}
		if p.full = p.budget <= 0; p.full {
			break
		}
		if err := l.alive(ctx); err != nil {
			return crony.RunPage{}, err
		}
		if err := l.days.view(day, p.collect); err != nil {
			return crony.RunPage{}, fmt.Errorf("list runs: %w", err)
		}
		if p.full {
			break
		}
		p.before = day.first()
	}
	return p.result(), nil
}

// page is a page in the making: which index is walked, what the runs in it must also be, and how far it has come.
type page struct {
	bucket string
	prefix []byte   // of the keys that are walked
	also   [][]byte // prefixes under which a run must be in the index too
	key    []byte   // of one of them, to be looked up
	limit  int
	budget int
	before runKey // every run from here on has been seen
	runs   []crony.Run
	full   bool // there may be more, but not on this page
}

func newPage(q crony.RunQuery) (*page, error) {
	limit, err := crony.PageLimit(q.Limit)
	if err != nil {
		return nil, err
	}
	if q.State != "" && !knownState(q.State) {
		return nil, crony.Errorf(crony.Invalid, "no run is in state %.40q", q.State).WithHint("one of %v", q.State.Allowed())
	}
	p := &page{bucket: bucketRuns, limit: limit, budget: pageBudget, before: highest(), runs: []crony.Run{}}
	if q.Cursor != "" {
		u, err := ulid.ParseStrict(q.Cursor)
		if err != nil {
			return nil, crony.Errorf(crony.Invalid, "%.40q is not a cursor", q.Cursor).
				WithHint("take `next` of the page before")
		}
		p.before = runKey(u)
	}
	p.choose(q)
	return p, nil
}

// choose walks the index with the fewest entries, by all that is known without counting: few runs go on at any time, a job
// has fewer runs than an agent, and an end has the most.
func (p *page) choose(q crony.RunQuery) {
	var prefixes [][]byte
	if q.Job != "" {
		prefixes = append(prefixes, indexPrefix(indexJob, q.Job))
	}
	if q.Agent != "" {
		prefixes = append(prefixes, indexPrefix(indexAgent, q.Agent))
	}
	if q.State != "" {
		state := indexPrefix(indexState, string(q.State))
		if q.State.Ended() {
			prefixes = append(prefixes, state)
		} else {
			prefixes = append([][]byte{state}, prefixes...)
		}
	}
	if len(prefixes) > 0 {
		p.bucket, p.prefix, p.also = bucketIndex, prefixes[0], prefixes[1:]
	}
}

// collect takes a day's runs into the page.
func (p *page) collect(tx *bbolt.Tx) error {
	p.budget -= dayCost
	w := walk{tx.Bucket([]byte(p.bucket)).Cursor(), p.prefix}
	index := tx.Bucket([]byte(bucketIndex)).Cursor()
	for k, ok := w.before(p.before); ok; k, ok = w.next() {
		if p.budget <= 0 {
			p.full = true
			return nil
		}
		p.budget--
		if !p.matches(index, k) {
			p.before = k
			continue
		}
		if len(p.runs) == p.limit {
			p.full = true
			return nil
		}
		run, found, err := readRun(tx, k)
		if err != nil {
			return err
		}
		if found {
			p.runs = append(p.runs, run)
		}
		p.before = k
	}
	return nil
}

func (p *page) matches(index *bbolt.Cursor, k runKey) bool {
	for _, prefix := range p.also {
		p.key = append(append(p.key[:0], prefix...), k[:]...)
		if found, _ := index.Seek(p.key); !bytes.Equal(found, p.key) {
			return false
		}
	}
	return true
}

func (p *page) result() crony.RunPage {
	r := crony.RunPage{Items: p.runs}
	if p.full {
		r.Next = string(p.before.id())
	}
	return r
}

// walk goes down the keys that are prefix and a run, from the newest run on.
type walk struct {
	c      *bbolt.Cursor
	prefix []byte
}

// before returns the newest run that is older than k.
func (w walk) before(k runKey) (runKey, bool) {
	if key, _ := w.c.Seek(append(w.prefix[:len(w.prefix):len(w.prefix)], k[:]...)); key == nil {
		key, _ = w.c.Last()
		return w.run(key)
	}
	return w.next()
}

func (w walk) next() (runKey, bool) {
	key, _ := w.c.Prev()
	return w.run(key)
}

func (w walk) run(key []byte) (runKey, bool) {
	if len(key) != len(w.prefix)+len(runKey{}) || !bytes.HasPrefix(key, w.prefix) {
		return runKey{}, false
	}
	return runKey(key[len(w.prefix):]), true
}

// highest returns a key above every run's.
func highest() (k runKey) {
	for i := range k {
		k[i] = 0xff
	}
	return k
}
