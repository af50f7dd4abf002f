// Package webui is the way in for people: the REST API of api/openapi.yaml, the sessions of browsers, the routes for
// Prometheus and for health checks, and the web app that is embedded in the binary.
//
// The one thing to know: nothing is decided here. A request is authenticated, its input is read strictly, one call is made
// to a store, and the answer is written; whatever a store refuses is shown as it is (problem.go). So each handler is short,
// and the rules that hold for a job hold the same however it was defined.
//
// Who may do what is decided in one place (auth.go): a cookie or a bearer token, never both, makes a caller; a route and a
// method name the role that it takes, and a route that was forgotten takes the highest.
//
// It keeps nothing that must outlive a request, but for counters and the recent failures to sign in. It terminates no TLS:
// it is given a listener.
package webui

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"crony"
	"crony/webui/api"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Options is what a [Server] is made of. Every field without a default must be set.
type Options struct {
	Jobs      crony.Jobs
	Runs      crony.Runs
	Outputs   crony.OutputSearch
	Figures   crony.Figures
	Agents    crony.Agents
	Ledger    crony.Ledger
	Calendars crony.Calendars
	Scripts   crony.Scripts
	Access    Access
	Events    Events
	Cluster   crony.Cluster

	// Join makes a host part of the cluster; remote is the address that it comes from. Unauthorized is a token that is not
	// good, and is counted against the address.
	Join func(ctx context.Context, req crony.JoinRequest, remote string) (crony.JoinAnswer, error)
	// Callback stores what a service that a run has called tells of it, by the token of the call. Unauthorized is a token that is
	// not good, and NotFound a call that nobody knows yet; both are counted against the address.
	Callback func(ctx context.Context, run crony.RunID, token string, report crony.CalleeReport) (crony.CalleeAnswer, error)
	// Backup writes an archive of all that the cluster keeps, for the recipients; for its own if there are none. What can be
	// refused is refused before the first byte. It returns soon after ctx is done, or a write has failed.
	Backup func(ctx context.Context, w io.Writer, recipients []string) error
	// Revision returns the revision of the keyspace up to which this server's copy of it has come; 0 if that is not known yet.
	Revision func() int64

	// LastRun returns the newest run of a job that did the job's own work, and whether there is one. It is asked once for each
	// job of a page, so it must answer from memory.
	LastRun func(job string) (crony.Run, bool)
	// Facts returns the figures of GET /server; Unavailable if they are not known yet.
	Facts func(ctx context.Context) (Facts, error)
	// Ready runs the checks of /readyz. Their reasons are shown to strangers.
	Ready func(ctx context.Context) []Check

	// Registerer takes the metrics of the requests; Gatherer is what /metrics shows.
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
	// PublicMetrics opens /metrics to everyone; without it a token or a session is needed.
	PublicMetrics bool
	// HSTS has browsers that were answered over TLS use nothing else for this host name from then on, on any of its ports and
	// for a year: only for a name that is crony's alone, with a certificate that they trust.
	HSTS bool

	Log *slog.Logger     // discards by default
	Now func() time.Time // time.Now by default
}

// The bounds of what one client may take.
const (
	bodyLimit      = 4 << 20          // bytes of a request's body
	headerLimit    = 16 << 10         // bytes of a request's head: long filters in the URL
	readTimeout    = 30 * time.Second // for a whole request to arrive
	writeTimeout   = time.Minute      // without the client taking anything of what is written
	idleTimeout    = 2 * time.Minute  // between two requests of a connection
	requestTimeout = 30 * time.Second // for a handler; streams have none
	drainTimeout   = 10 * time.Second // for requests to end when the server stops
	heartbeat      = 10 * time.Second // between two signs of life on a stream
)

// Server answers people's requests. Make it with [New]; it is served once.
type Server struct {
	opts     Options
	app      *fiber.App
	assets   *assets
	origin   *http.CrossOriginProtection
	logins   *throttle
	joins    *throttle
	calls    *throttle       // callbacks that were refused
	told     buckets[string] // callbacks that were not, by their runs
	metrics  *metrics
	requests scopes        // handlers that run
	streams  scopes        // event streams and backups that go on; they outlive their handlers
	beat     time.Duration // heartbeat, but in tests
	grace    time.Duration // drainTimeout, but in tests
}

// New makes a server that serves nothing yet. The error says which option is missing, or that the metrics are registered
// already.
func New(opts Options) (*Server, error) {
	if err := opts.complete(); err != nil {
		return nil, err
	}
	dir, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, err
	}
	return newServer(opts, dir)
}

func (o *Options) complete() error {
	for _, part := range []struct {
		name  string
		given bool
	}{
		{"Jobs", o.Jobs != nil}, {"Runs", o.Runs != nil}, {"Outputs", o.Outputs != nil},
		{"Figures", o.Figures != nil}, {"Agents", o.Agents != nil}, {"Access", o.Access != nil},
		{"Ledger", o.Ledger != nil}, {"Calendars", o.Calendars != nil}, {"Scripts", o.Scripts != nil},
		{"Events", o.Events != nil}, {"LastRun", o.LastRun != nil}, {"Facts", o.Facts != nil}, {"Ready", o.Ready != nil},
		{"Cluster", o.Cluster != nil}, {"Join", o.Join != nil}, {"Callback", o.Callback != nil},
		{"Backup", o.Backup != nil}, {"Revision", o.Revision != nil},
		{"Registerer", o.Registerer != nil}, {"Gatherer", o.Gatherer != nil},
	} {
		if !part.given {
			return errors.New("webui: Options." + part.name + " is not set")
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}

func newServer(opts Options, dir fs.FS) (*Server, error) {
	web, err := newAssets(dir)
	if err != nil {
		return nil, err
	}
	counted, err := newMetrics(opts.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts: opts, assets: web, metrics: counted, beat: heartbeat, grace: drainTimeout,
		origin: http.NewCrossOriginProtection(), logins: newThrottle(opts.Now, freeSignIns, failureTime),
		joins: newThrottle(opts.Now, freeJoins, failureTime), calls: newThrottle(opts.Now, freeCalls, callTime),
		told: buckets[string]{now: opts.Now, free: freeReports, forget: reportTime, each: map[string]bucket{}},
	}
	s.opts.Log = opts.Log.With("part", "webui")
	s.app = fiber.New(fiber.Config{
		Immutable:                    true, // otherwise strings change under whoever keeps them
		CaseSensitive:                true,
		DisableStartupMessage:        true,
		DisablePreParseMultipartForm: true,
		EnableTrustedProxyCheck:      true, // and none is trusted: X-Forwarded-* is anybody's word
		BodyLimit:                    bodyLimit,
		ReadBufferSize:               headerLimit,
		ReadTimeout:                  readTimeout,
		IdleTimeout:                  idleTimeout, // WriteTimeout would end streams; see conn.Write
		JSONDecoder:                  decodeStrictly,
		ErrorHandler:                 s.answerError,
	})
	s.route()
	return s, nil
}

// route says what is served where. A middleware that is registered with Use is no route, so that what matches no route is
// answered with 404, or with 405 and Allow.
func (s *Server) route() {
	s.app.Use(s.observe, s.bound)
	s.app.Get("/livez", s.livez)
	s.app.Get("/readyz", s.readyz)
	s.app.Get("/metrics", s.metricsAccess, s.metrics.handler(s.opts.Gatherer))
	s.app.Use(apiBase, s.authenticate, s.tellRevision)
	s.app.Get(apiBase+"/openapi.yaml", sendSpec)
	handlers := rest{s}
	api.RegisterHandlersWithOptions(s.app, bodies{api.NewStrictHandler(handlers, nil), handlers}, api.FiberServerOptions{
		BaseURL:            apiBase,
		HandlerMiddlewares: []api.HandlerMiddlewareFunc{authorize},
	})
	s.app.Use(s.assets.serve)
}

// rest implements the operations of the API, one file for each noun.
type rest struct{ *Server }

var _ api.StrictServerInterface = rest{}

const apiBase = "/api/v1"

func sendSpec(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, "application/yaml")
	return c.Send(api.Spec)
}
