package callee

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Run is the run that a job's call is of. Its methods are safe for concurrent use, and never wait for a server.
type Run struct {
	ID          string
	Job         string
	ScheduledAt time.Time // when the run was due
	Attempt     int       // from 1
	Epoch       int64     // it grows whenever the job is changed or moved: a call with a smaller one is of the past
	Deadline    time.Time // by this host's clock: when the answer is not waited for any longer
	Body        []byte    // of the call; by HTTP only

	service *Service
	token   string
	servers []string
	ctx     context.Context //nolint:containedctx // the run's own, for its work
	cancel  context.CancelCauseFunc
	wake    chan struct{} // of one place: there is something to tell
	given   chan struct{} // closed when nothing more is to be told
	giveUp  sync.Once

	mu       sync.Mutex
	seq      int // of the last event
	progress *event
	text     []byte // that is logged and not yet told
	part     []byte // of a character
	offset   int64  // of text
	gap      int64  // bytes after text for which there was no room
	result   *event
}

// The bounds of what is told, which the servers have as well.
const (
	maxText   = 500       // bytes of a message or reason
	maxResult = 48 << 10  // bytes of a result's data
	maxLog    = 256 << 10 // bytes that wait
	maxSeq    = 1<<20 - 2 // the last is for the result
)

// FromMetadata reads a call by what tells of its run: HTTP headers, or the metadata of a gRPC call, of which get returns the
// value by its key in lower case, or "". The error says what is missing.
func (s *Service) FromMetadata(get func(key string) string) (*Run, error) {
	r := &Run{ID: get("crony-run-id"), Job: get("crony-job"), service: s, token: get("crony-token"), servers: s.servers,
		wake: make(chan struct{}, 1), given: make(chan struct{})}
	var wrong []error
	note := func(key string, err error) {
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", key, err))
		}
	}
	var err error
	r.Attempt, err = strconv.Atoi(get("crony-attempt"))
	note("crony-attempt", err)
	r.Epoch, err = strconv.ParseInt(get("crony-epoch"), 10, 64)
	note("crony-epoch", err)
	r.ScheduledAt, err = time.Parse(time.RFC3339, get("crony-scheduled-at"))
	note("crony-scheduled-at", err)
	if r.Deadline, err = time.Parse(time.RFC3339, get("crony-deadline")); err != nil {
		note("crony-deadline", err)
	}
	if seconds, err := strconv.ParseInt(get("crony-timeout"), 10, 32); err == nil && seconds > 0 { // whatever the clocks say
		r.Deadline = time.Now().Add(time.Duration(seconds) * time.Second)
	}
	if !plain(r.ID, 64) || !plain(r.token, 4096) {
		note("crony-run-id, crony-token", errors.New("missing, or not as crony writes them"))
	}
	for text := range strings.SplitSeq(get("crony-servers"), ",") {
		if len(s.servers) > 0 {
			break
		}
		base, err := serverURL(text)
		note("crony-servers", err)
		r.servers = append(r.servers, base)
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("callee: this is no call of a crony job with async: true: %w", errors.Join(wrong...))
	}
	return r, nil
}

// plain says whether a text is there and may stand in a URL's path and in a header.
func plain(text string, most int) bool {
	return text != "" && len(text) <= most && !strings.ContainsFunc(text, func(c rune) bool {
		return !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || strings.ContainsRune("-_.~+=", c))
	})
}

func (r *Run) key() string { return r.ID + "/" + strconv.Itoa(r.Attempt) }

// Start has the run worked for in the background, and returns at once. To return without an error is to have accepted the call:
// answer it with success. The same call again is not worked on twice. [ErrFull] and [ErrClosed] say that it is not accepted.
func (r *Run) Start(work Func) error { return r.service.start(r, work) }

// begin makes the context of the run's work.
func (r *Run) begin() {
	ctx, cancel := context.WithCancelCause(context.Background())
	over := fmt.Errorf("the run's deadline has passed: %w", context.DeadlineExceeded)
	ctx, stop := context.WithDeadlineCause(ctx, r.Deadline, over)
	r.ctx, r.cancel = ctx, func(cause error) {
		cancel(cause)
		stop()
	}
}

// Progress tells how far the run is: 0 to 100 percent, and a message of at most 500 bytes. Of what is told faster than it can
// be delivered, the latest counts.
func (r *Run) Progress(percent int, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.event(); e != nil {
		e.Progress = &progress{Percent: min(max(percent, 0), 100), Message: cut(message)}
		r.progress = e
		r.poke()
	}
}

// event returns the next event; nil if there may be no more. The caller holds mu.
func (r *Run) event() *event {
	if r.seq >= maxSeq || r.result != nil {
		return nil
	}
	r.seq++
	return &event{Seq: r.seq, At: time.Now().UTC()}
}

func (r *Run) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Log returns where the run's log goes: text in UTF-8, which is shown as the run's output. Writing never waits and never fails;
// what can't be delivered as fast as it is written is left out, and the gap is shown.
func (r *Run) Log() io.Writer { return logWriter{r} }

type logWriter struct{ run *Run }

// Write implements [io.Writer].
func (w logWriter) Write(data []byte) (int, error) {
	r := w.run
	r.mu.Lock()
	defer r.mu.Unlock()
	whole := append(r.part, data...)
	r.part = nil
	for i := 1; i < utf8.UTFMax && i <= len(whole); i++ { // a character may come in two writes
		if last := whole[len(whole)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				r.part = bytes.Clone(last)
				whole = whole[:len(whole)-i]
			}
			break
		}
	}
	r.log(bytes.ToValidUTF8(whole, []byte("?")))
	return len(data), nil
}

// log takes in text. What there is no room for counts, so that a gap is left. The caller holds mu.
func (r *Run) log(text []byte) {
	if r.result != nil || len(text) == 0 {
		return
	}
	if r.gap > 0 || len(r.text)+len(text) > maxLog { // a gap grows until what is before it is told
		r.gap += int64(len(text))
		r.poke()
		return
	}
	r.text = append(r.text, text...)
	r.poke()
}

// finish notes how the work has ended.
func (r *Run) finish(data any, err error) {
	res := &result{State: "succeeded"}
	if data != nil {
		text, wrong := json.Marshal(data)
		switch {
		case wrong != nil:
			err = errors.Join(err, fmt.Errorf("the result can't be told: %w", wrong))
		case len(text) > maxResult:
			err = errors.Join(err, fmt.Errorf("the result has %d bytes, and at most %d can be told", len(text), maxResult))
		default:
			res.Data = text
		}
	}
	if err != nil {
		res.State, res.Reason = "failed", cut(err.Error())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.part) > 0 {
		r.log(bytes.ToValidUTF8(r.part, []byte("?")))
	}
	r.seq++
	r.result = &event{Seq: r.seq, At: time.Now().UTC(), Result: res}
	r.poke()
}

// abandon gives up what is not told yet.
func (r *Run) abandon() { r.giveUp.Do(func() { close(r.given) }) }

// cut returns as much of a text as can be told.
func cut(text string) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText-len("…")], "") + "…"
	}
	return text
}
