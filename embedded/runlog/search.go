package runlog

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"crony"
)

// searchLimits bound one call of a search, and what it keeps in memory. Lengths are in bytes.
type searchLimits struct {
	bytes int           // of output that are unpacked in one call; passed by what a hit's context needs
	runs  int           // that one call looks at
	time  time.Duration // that one call takes

	fill    int // of output that are unpacked before they are looked at
	line    int // of a line: what is longer is long
	span    int // of output on each side of a line in which its context begins
	shown   int // of a line in an answer
	context int // of a line of context in an answer
}

func defaultSearchLimits() searchLimits {
	return searchLimits{
		bytes: 64 << 20, runs: 20_000, time: 2 * time.Second,
		fill: 512 << 10, line: 64 << 10, span: 64 << 10, shown: 1 << 10, context: 256,
	}
}

// runsAtOnce is how many runs a search asks the list for.
const runsAtOnce = 128

// SearchOutput implements [crony.OutputSearch]. A line counts once, with its first match. Text is found wherever it stands; a
// line of more than 64 KiB is matched by a pattern in pieces of that size, as if each were a line, and has no context. Context
// begins within 64 KiB of the line. Where output is missing, a line ends. In a run that goes on, the last line is taken for
// whole. A chunk that can't be read is logged, and counts as missing.
//
// A call ends after about 64 MiB of output, 20,000 runs, or 2 s. Its cursor is a place in the output, so pages neither double
// hits nor leave any out, however they are cut.
func (l *Log) SearchOutput(ctx context.Context, q crony.OutputQuery) (crony.OutputPage, error) {
	return l.searchOutput(ctx, q, defaultSearchLimits())
}

func (l *Log) searchOutput(ctx context.Context, q crony.OutputQuery, limits searchLimits) (crony.OutputPage, error) {
	if err := l.alive(ctx); err != nil {
		return crony.OutputPage{}, err
	}
	s, err := newSearch(l, q, limits)
	if err != nil {
		return crony.OutputPage{}, err
	}
	done, err := s.run(ctx)
	if err != nil {
		return crony.OutputPage{}, fmt.Errorf("search output: %w", err)
	}
	s.page.Reached = s.at.run.id().Time()
	if !done {
		s.page.Next = s.at.String()
	}
	return s.page, nil
}

// search is one call in the making.
type search struct {
	log    *Log
	query  crony.RunQuery
	limit  int
	limits searchLimits
	until  time.Time

	begin  searchCursor // where the call began
	at     searchCursor // how far it has come
	view   *lineView
	next   chunkRef // of at's run: the chunk to read next
	loaded int      // bytes unpacked
	page   crony.OutputPage
}

func newSearch(l *Log, q crony.OutputQuery, limits searchLimits) (*search, error) {
	limit, err := crony.PageLimit(q.Limit)
	if err != nil {
		return nil, err
	}
	if q.Context < 0 || q.Context > crony.MaxContext {
		return nil, crony.Errorf(crony.Invalid, "context %d is out of range", q.Context).WithHint("0 to %d", crony.MaxContext)
	}
	p, err := newPattern(q.Text, q.Pattern)
	if err != nil {
		return nil, err
	}
	begin, err := parseSearchCursor(q.Cursor)
	if err != nil {
		return nil, err
	}
	q.Runs.Limit, q.Runs.Count = runsAtOnce, false
	s := &search{
		log: l, query: q.Runs, limit: limit, limits: limits, until: time.Now().Add(limits.time),
		begin: begin, at: begin, page: crony.OutputPage{Items: []crony.OutputHit{}},
	}
	s.view = &lineView{pattern: p, around: q.Context, limits: &s.limits, tired: s.full}
	return s, nil
}

// full says whether the call has to end here. It never has to where it began: a cursor that stays would be asked for again
// and again.
func (s *search) full() bool {
	if len(s.page.Items) >= s.limit {
		return true
	}
	if s.loaded < s.limits.bytes && s.page.Runs < s.limits.runs && time.Now().Before(s.until) {
		return false
	}
	s.mark()
	return s.at != s.begin
}

// mark notes how far the call has come within the run.
func (s *search) mark() {
	if s.at.inside {
		s.at.at, s.at.line, s.at.skip = s.view.at, s.view.line, s.view.skip
	}
}

// run goes from run to run, and reports whether it came to the end.
func (s *search) run(ctx context.Context) (done bool, err error) {
	if s.at.inside {
		run, found, err := s.log.load(s.at.run)
		if err != nil {
			return false, err
		}
		if found { // else it was dropped meanwhile
			if whole, err := s.searchRun(ctx, &run); err != nil || !whole {
				return false, err
			}
		}
		s.at = searchCursor{run: s.at.run}
	}
	for !s.full() {
		s.query.Cursor = s.at.list()
		list, err := s.log.ListRuns(ctx, s.query)
		if err != nil {
			return false, err
		}
		for i := range list.Items {
			if s.full() {
				return false, nil
			}
			if s.at, err = startOf(list.Items[i].ID); err != nil {
				return false, err
			}
			if whole, err := s.searchRun(ctx, &list.Items[i]); err != nil || !whole {
				return false, err
			}
			s.at = searchCursor{run: s.at.run}
		}
		if list.Next == "" {
			return true, nil
		}
		if s.at, err = beforeList(list.Next); err != nil {
			return false, err
		}
	}
	return false, nil
}

// searchRun looks through the output of a run from s.at on, and reports whether it came to the run's end.
func (s *search) searchRun(ctx context.Context, run *crony.Run) (whole bool, err error) {
	s.page.Runs++
	s.view.resume(s.at.at, s.at.line, s.at.skip)
	s.next = chunkRef{attempt: s.at.attempt, stream: s.at.stream}
	if back := s.at.at - int64(s.limits.span) - MaxChunk; back > 0 { // no chunk that reaches there begins before
		s.next.offset = uint64(back)
	}
	for more := true; more; {
		if err := s.log.alive(ctx); err != nil {
			return false, err
		}
		var last bool
		if more, last, err = s.fill(); err != nil {
			return false, err
		}
		seen := s.view.at
		for hit, ok := s.view.next(last); ok; hit, ok = s.view.next(last) {
			hit.Run, hit.Job, hit.Agent, hit.Attempt = run.ID, run.Job, run.Agent, int(s.at.attempt)
			hit.Stream = streamOf(s.at.stream)
			s.page.Items = append(s.page.Items, hit)
			if len(s.page.Items) == s.limit {
				break
			}
		}
		s.page.Bytes += s.view.at - seen
		s.mark()
		if s.full() {
			return false, nil
		}
	}
	return true, nil
}

// fill unpacks output for s.view to look at. It reports whether there is more in the run, and whether what was unpacked is
// the last of a piece: what follows is missing, or is another stream's.
func (s *search) fill() (more, last bool, err error) {
	s.view.shift()
	err = s.log.days.view(s.at.run.day(), func(tx *bbolt.Tx) error {
		last = true // unless there is more
		eachChunk(tx, s.at.run, s.next, s.warn, func(c *packedChunk) bool {
			switch {
			case s.view.empty():
				s.enter(c)
			case c.ref.attempt != s.at.attempt || c.ref.stream != s.at.stream || c.from() > s.view.end():
				more, s.next = true, c.ref
				return false
			}
			if s.view.enough() {
				more, last, s.next = true, false, c.ref
				return false
			}
			if c.to() > s.view.wanted() {
				s.load(c)
			}
			return true
		})
		return nil
	})
	return more, last, err
}

// load has s.view hold a chunk. One that can't be read is left out.
func (s *search) load(c *packedChunk) {
	s.loaded += c.size
	err := s.view.add(c.from(), c.readAt(s.at.run), c.size, func(to []byte) ([]byte, error) {
		return s.log.codec.unpack(to, &c.chunkHeader)
	})
	if err != nil {
		s.warn(c.ref, err)
	}
}

func (s *search) warn(at chunkRef, err error) {
	s.log.log.Warn("a chunk of output can't be read", "run", s.at.run.id(), "offset", at.offset, "err", err)
}

// enter begins a piece of output with a chunk.
func (s *search) enter(c *packedChunk) {
	if c.ref.attempt != s.at.attempt || c.ref.stream != s.at.stream {
		s.at.attempt, s.at.stream = c.ref.attempt, c.ref.stream
		s.view.resume(0, 0, false)
	}
}
