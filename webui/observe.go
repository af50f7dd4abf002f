package webui

import (
	"context"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics counts requests by the pattern of their route, never by their path, so that the number of series is bounded. The
// route "/" is the web app and what is nowhere.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	streams  prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "crony_http_requests_total", Help: "Requests answered.",
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "crony_http_request_duration_seconds", Help: "Time to answer a request; of a stream, until it begins.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
		}, []string{"method", "route"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "crony_http_streams", Help: "Event streams that are open.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.streams} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register http metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) handler(gatherer prometheus.Gatherer) fiber.Handler {
	return adaptor.HTTPHandler(promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))
}

// metricsAccess guards /metrics unless it is open to everyone.
func (s *Server) metricsAccess(c *fiber.Ctx) error {
	if !s.opts.PublicMetrics {
		if _, err := s.identify(c); err != nil {
			return err
		}
	}
	return c.Next()
}

// observe stands outermost: it answers errors and panics, so that it can count the status that was sent.
func (s *Server) observe(c *fiber.Ctx) error {
	began := time.Now()
	s.secure(c)
	if err := withoutPanic(c.Next); err != nil {
		if err := s.answerError(c, err); err != nil {
			return err
		}
	}
	method, route := c.Method(), c.Route().Path
	s.metrics.requests.WithLabelValues(method, route, strconv.Itoa(c.Response().StatusCode())).Inc()
	s.metrics.seconds.WithLabelValues(method, route).Observe(time.Since(began).Seconds())
	return nil
}

// withoutPanic makes an error of a panic of f.
func withoutPanic(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return f()
}

// bound gives each handler a context that ends: after 30 seconds, or when the server has stopped waiting for it.
func (s *Server) bound(c *fiber.Ctx) error {
	ctx, cancel := context.WithTimeout(c.UserContext(), requestTimeout)
	defer cancel()
	ctx, leave := s.requests.enter(ctx)
	defer leave()
	c.SetUserContext(ctx)
	return c.Next()
}

// tellRevision says how new an answer is: of a reading, the revision from before it; of a change, one that holds the change.
// A caller who goes on with another server can tell by it whether that one is behind.
func (s *Server) tellRevision(c *fiber.Ctx) error {
	reading := c.Method() == fiber.MethodGet || c.Method() == fiber.MethodHead
	if reading {
		s.setRevision(c)
	}
	err := c.Next()
	if !reading && err == nil {
		s.setRevision(c)
	}
	return err
}

func (s *Server) setRevision(c *fiber.Ctx) {
	if revision := s.opts.Revision(); revision > 0 {
		c.Set("Crony-Revision", strconv.FormatInt(revision, 10))
	}
}

// secure sets the headers that every answer has; the web app's page has a policy of its own.
func (s *Server) secure(c *fiber.Ctx) {
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; frame-ancestors 'none'")
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderReferrerPolicy, "no-referrer")
	c.Set("Cross-Origin-Opener-Policy", "same-origin")
	c.Set("Cross-Origin-Resource-Policy", "same-origin")
	if s.opts.HSTS && c.Context().IsTLS() {
		c.Set(fiber.HeaderStrictTransportSecurity, "max-age=31536000")
	}
}
