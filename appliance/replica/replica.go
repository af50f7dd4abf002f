// Package replica makes the run logs of all servers one: what is appended on any server is on the disks of most servers before
// that is acknowledged, and soon on those of all.
//
// The one thing to know: a run log's records never change and merging is a union, so there is no order to agree on, and no
// leader. A server sends what it appends to all others at once ([Log.Append]) and counts whose disks it has reached. What does
// not reach a server becomes a hint, the name of a run, and is sent when the server answers again. Whatever hints miss is
// found by comparing: each server asks each other what it holds, by sums of days, then of minutes, then of runs, and fetches
// what it lacks. So each heals itself, and two logs that differ do not stay so.
//
// Reads are of a server's own log, which may lack what only others have yet. Whoever is about to judge by the absence of
// something asks the others first ([Log.Refresh]).
//
// It stores nothing itself, deletes nothing but what another server has let go of for good, and keeps no hints across a
// restart: comparing finds what they stood for.
package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crony"
	"crony/embedded/runlog"
)

// Own is the server's own log. Its methods are safe for concurrent use; [runlog.Log] says what they do.
type Own interface {
	Encode(r runlog.Records) (*runlog.Batch, error)
	Decode(data []byte) (*runlog.Batch, error)
	Store(ctx context.Context, b *runlog.Batch) error
	Merge(ctx context.Context, b *runlog.Batch) error
	Days(ctx context.Context) (map[string]runlog.Sum, error)
	Minutes(ctx context.Context, day string) ([]runlog.Sum, error)
	Items(ctx context.Context, day string, minute int) (map[string]runlog.Sum, error)
	Records(ctx context.Context, day string, keys []string) iter.Seq2[*runlog.Batch, error]
	CopyDay(ctx context.Context, day string, put func(size int64, write func(io.Writer) error) error) error
	AdoptDay(ctx context.Context, day string, r io.Reader) error
	Floor() string
	RaiseFloor(day string) error
	Marks() map[string]crony.RunID
	RaiseMarks(marks map[string]crony.RunID) error
}

// Peers calls other servers, each at its address (HOST:PORT). What they answer is not trusted to be right. Its methods are safe
// for concurrent use, and end by themselves if a server says nothing for long.
type Peers interface {
	// Replicate sends batches until ctx is done or the stream breaks, and returns why. Next waits for what is to be sent, and
	// is called for the first time when the server is reached: batches, numbered from first; compare says that the server is
	// to compare its log with this one's. Done is told what became of each; nil: it is on the server's disk.
	Replicate(ctx context.Context, at string,
		next func(ctx context.Context) (first uint64, batches [][]byte, compare bool, err error),
		done func(number uint64, refusal error)) error
	// Days returns what the server holds of each day, and what it has dropped. It is given the same of this one, so that what
	// they have in common need not be sent.
	Days(ctx context.Context, at string, own map[string]runlog.Sum, ownFloor string, ownMarks map[string]crony.RunID) (
		days map[string]runlog.Sum, floor string, marks map[string]crony.RunID, err error)
	// Minutes returns what the server holds of each minute of a day.
	Minutes(ctx context.Context, at, day string) ([]runlog.Sum, error)
	// Items calls each for every item that the server holds of a minute.
	Items(ctx context.Context, at, day string, minute int, each func(key string, sum runlog.Sum) error) error
	// Records yields batches, encoded, of all that the server holds of items of a day.
	Records(ctx context.Context, at, day string, keys []string) iter.Seq2[[]byte, error]
	// Day calls take with the size of a day's file, and with what reads it.
	Day(ctx context.Context, at, day string, take func(size int64, file io.Reader) error) error
}

// Member is a voting server.
type Member struct {
	ID      string
	Address string // HOST:PORT at which it answers other servers; "" while that is not known
}

// Options is what a Log is made of; all but Now are required.
type Options struct {
	Self  string // this server's id
	Own   Own
	Peers Peers
	// Members returns the voting servers, this one among them. It is asked every second, and must not block. After an error
	// they are taken to be what they were.
	Members    func() ([]Member, error)
	Registerer prometheus.Registerer
	Log        *slog.Logger
	Now        func() time.Time // the wall clock; time.Now if nil
}

// Log is the run log of the cluster, as seen from one of its servers. Its methods are safe for concurrent use.
type Log struct {
	opts    Options
	log     *slog.Logger
	metrics metrics

	members   atomic.Pointer[membership]
	storing   sync.WaitGroup
	closing   chan struct{} // closed when nothing is appended any more
	ownBytes  atomic.Int64  // on their way to the own disk
	ownLate   atomic.Bool   // the own disk does not keep up
	ownRefuse atomic.Bool   // the own disk has refused the last batch
	comparing chan struct{} // holds the one exchange that is under way

	mu     sync.Mutex
	closed bool
	others map[string]*other // by id
}

// membership is the voting servers at one moment.
type membership struct {
	others []*other
	need   int // of them and this server: a majority
}

// New returns a log that reaches no other server before it is run.
func New(opts Options) (*Log, error) {
	if opts.Self == "" || opts.Own == nil || opts.Peers == nil || opts.Members == nil || opts.Registerer == nil || opts.Log == nil {
		return nil, errors.New("replica: an option is missing")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	l := &Log{opts: opts, log: opts.Log.With("part", "replica"), closing: make(chan struct{}),
		comparing: make(chan struct{}, 1), others: map[string]*other{}}
	if err := l.metrics.register(opts.Registerer, l); err != nil {
		return nil, err
	}
	if err := l.look(); err != nil {
		return nil, err
	}
	return l, nil
}

const lookEvery = time.Second // between two looks at the members

// Run keeps this log and those of the other servers alike until ctx is done, which is no error. Then nothing is appended any
// more.
func (l *Log) Run(ctx context.Context) error {
	running := map[string]context.CancelFunc{}
	var work sync.WaitGroup
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := l.look(); err != nil {
			l.log.Warn("the servers are taken to be those of before", "err", err)
		}
		m := l.members.Load()
		for _, o := range m.others {
			if running[o.id] == nil {
				scope, cancel := context.WithCancel(ctx)
				running[o.id] = cancel
				work.Go(func() { o.run(scope) })
			}
		}
		for id, cancel := range running {
			if !slices.ContainsFunc(m.others, func(o *other) bool { return o.id == id }) {
				cancel()
				delete(running, id)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.close()
			work.Wait()
			l.storing.Wait()
			return nil
		}
	}
}

func (l *Log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	close(l.closing)
}

// look takes over who votes, and where they are. A server that leaves and comes again has lost its hints: it is compared anew.
func (l *Log) look() error {
	list, err := l.opts.Members()
	if err != nil {
		return fmt.Errorf("look who votes: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := &membership{}
	voters := map[string]bool{l.opts.Self: true}
	for _, m := range list {
		if voters[m.ID] {
			continue
		}
		voters[m.ID] = true
		o := l.others[m.ID]
		if o == nil {
			o = newOther(l, m.ID)
			l.others[m.ID] = o
		}
		o.at(m.Address)
		now.others = append(now.others, o)
	}
	for id, o := range l.others {
		if !voters[id] {
			o.giveUp()
			delete(l.others, id)
		}
	}
	now.need = len(voters)/2 + 1
	l.members.Store(now)
	return nil
}

// wait waits for a time, or less if ctx is done before; it says whether it waited for all of it.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// poke has whoever waits on a channel of one place look.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
