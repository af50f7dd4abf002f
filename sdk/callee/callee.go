// Package callee is for services that crony's jobs call, and that answer later: by HTTP or by gRPC, with `async: true` in the
// job. It imports nothing but the standard library.
//
//	service, err := callee.New(callee.Options{TLS: &tls.Config{RootCAs: cronysOwn}})
//	...
//	http.Handle("POST /jobs/rebuild", service.Handler(func(ctx context.Context, run *callee.Run) (any, error) {
//		fmt.Fprintln(run.Log(), "rebuilding")
//		run.Progress(50, "half of it")
//		return map[string]int{"documents": 12}, nil
//	}))
//	...
//	defer service.Close(ctx)
//
// The one thing to know: the call is accepted at once, the work goes on in the background, and what it tells is brought to
// whichever of the cluster's servers answers, again and again until one has it on record or the call's deadline has passed. So
// a server may be down, and all of them restart. The context of the work ends at the deadline, or when the run was killed.
//
// A call that comes again is accepted and not worked on twice, as long as this process lives. After a restart it does not know
// of the work of before: that is for the service, which knows the run by its ID.
//
// Whoever can call the service can have it work, and send the outcome to servers of his choice: let only agents reach it, or
// name the servers in [Options].
package callee

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Func is the work of a run. What it returns becomes the run's result, as JSON of at most 48 KiB; with an error the run has
// failed. Ctx ends at the run's deadline, or when a server says that the run was killed or has ended: [context.Cause] says why.
type Func func(ctx context.Context, run *Run) (result any, err error)

// Options is what a Service is made of. The zero Options will do.
type Options struct {
	TLS     *tls.Config  // for calls to the servers: whom to trust; the host's authorities if nil
	Servers []string     // base URLs, such as https://s1.internal:8470; those that the call names if empty
	AtOnce  int          // how many runs go on at once; 100 if 0. A call that finds no room is refused
	Log     *slog.Logger // discards by default; it never holds a token
}

// Service works for runs. Its methods are safe for concurrent use.
type Service struct {
	atOnce  int
	servers []string
	client  *http.Client
	log     *slog.Logger

	mu     sync.Mutex
	closed bool
	going  map[string]*Run      // by run and attempt
	done   map[string]time.Time // the same, of those that are over: when they may be forgotten
	idle   chan struct{}        // closed when the service is, and nothing goes on any more
}

// The errors that say why a call is not worked on.
var (
	ErrFull   = errors.New("callee: too many runs go on at once")
	ErrClosed = errors.New("callee: the service is about to stop")
)

const (
	defaultAtOnce = 100
	maxBody       = 4 << 20 // bytes of a call
	maxDone       = 10000   // calls that are known to be over
	rememberTime  = time.Minute
	callTime      = 15 * time.Second // of one request to a server
)

// New returns a service that works for nobody yet. The error says which option can't be used.
func New(opts Options) (*Service, error) {
	s := &Service{atOnce: opts.AtOnce, log: opts.Log, going: map[string]*Run{}, done: map[string]time.Time{},
		idle: make(chan struct{})}
	if s.atOnce == 0 {
		s.atOnce = defaultAtOnce
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.atOnce < 0 {
		return nil, fmt.Errorf("callee: Options.AtOnce is %d", opts.AtOnce)
	}
	for _, text := range opts.Servers {
		base, err := serverURL(text)
		if err != nil {
			return nil, fmt.Errorf("callee: Options.Servers: %w", err)
		}
		s.servers = append(s.servers, base)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: opts.TLS.Clone(), ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 4, MaxConnsPerHost: 16, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 5 * time.Second}
	s.client = &http.Client{Transport: transport, Timeout: callTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // the token is for the servers
	return s, nil
}

// serverURL returns a server's base URL without a slash at its end.
func serverURL(text string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%.100q is no server's address: write it as https://HOST:PORT", text)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// Handler answers a job's calls: 202, and the work goes on in the background. 400 says that it is no such call, 503 that there
// is no room, or that the service is about to stop.
func (s *Service) Handler(work Func) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		run, err := s.FromMetadata(r.Header.Get)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if run.Body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
			status := http.StatusBadRequest
			if _, large := errors.AsType[*http.MaxBytesError](err); large {
				status = http.StatusRequestEntityTooLarge
			}
			http.Error(w, err.Error(), status)
			return
		}
		if err := run.Start(work); err != nil { //nolint:contextcheck // the work outlives the call
			w.Header().Set("Retry-After", "5")
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted) // with no body: what a call is answered is output of the run
	})
}

// start has a run worked for, unless it is already. Full says that there is no room.
func (s *Service) start(r *Run, work Func) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	_, goes := s.going[r.key()]
	_, over := s.done[r.key()]
	switch {
	case goes || over:
		return nil
	case s.closed:
		return ErrClosed
	case len(s.going) >= s.atOnce:
		return ErrFull
	}
	s.forget(now)
	s.going[r.key()] = r
	r.begin()
	go s.work(r, work)
	return nil
}

// work does a run's work, and returns when all that it tells is told.
func (s *Service) work(r *Run, work Func) {
	defer r.cancel(nil)
	told := make(chan struct{})
	go func() {
		defer close(told)
		r.deliver(s)
	}()
	result, err := guarded(work)(r.ctx, r)
	r.finish(result, err)
	<-told
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.going, r.key())
	s.done[r.key()] = r.Deadline.Add(rememberTime)
	if s.closed && len(s.going) == 0 {
		close(s.idle)
	}
}

// guarded makes an error of a panic.
func guarded(work Func) Func {
	return func(ctx context.Context, run *Run) (result any, err error) {
		defer func() {
			if caught := recover(); caught != nil {
				err = fmt.Errorf("panic: %v", caught)
			}
		}()
		return work(ctx, run)
	}
}

// forget makes room: a call comes again soon, or not at all.
func (s *Service) forget(now time.Time) {
	if len(s.done) < maxDone {
		return
	}
	for key, until := range s.done {
		if now.After(until) || len(s.done) >= maxDone {
			delete(s.done, key)
		}
	}
}

// Close takes no more calls, and waits until all runs are over and what they tell is told. When ctx is done before that, the
// contexts of the runs end, and what is not told yet is given up; the error is why ctx is done.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		if len(s.going) == 0 {
			close(s.idle)
		}
	}
	s.mu.Unlock()
	select {
	case <-s.idle:
		s.client.CloseIdleConnections()
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.going {
		r.cancel(ErrClosed)
		r.abandon()
	}
	return context.Cause(ctx)
}
