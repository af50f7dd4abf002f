package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"crony/internal/version"
)

// metrics count what happens on the agent. What stands is looked up when somebody asks.
type metrics struct {
	started prometheus.Counter
	retried prometheus.Counter
	ended   *prometheus.CounterVec
	claims  *prometheus.CounterVec
	steps   *prometheus.CounterVec
}

func newMetrics() *metrics {
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		for _, value := range values { // so that each is there before it is counted
			v.WithLabelValues(value)
		}
		return v
	}
	return &metrics{
		started: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "crony_agent_runs_started_total", Help: "Runs whose process this agent has started."}),
		retried: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "crony_agent_retries_total", Help: "Attempts that this agent has started after the first of their run."}),
		ended: vec("crony_agent_runs_ended_total", "Runs of this agent that have ended, by state.", "state"),
		claims: vec("crony_agent_claims_total", "Claims that this agent asked for, by what was decided.", "decision",
			"granted", "refused"),
		steps: vec("crony_agent_clock_steps_total", "Steps of the wall clock that this agent noticed.", "direction",
			"back", "forward"),
	}
}

func (m *metrics) claim(granted bool) {
	decision := "refused"
	if granted {
		decision = "granted"
	}
	m.claims.WithLabelValues(decision).Inc()
}

// watched are the parts that the metrics are of.
type watched struct {
	journal *journal
	reports *reporter
	runner  *runner
	link    *link
	loop    *loop
}

// registry holds all metrics of an agent.
func (w *watched) registry(now func() time.Time) (*prometheus.Registry, error) {
	m, info := w.runner.metrics, version.Read()
	list := []prometheus.Collector{m.started, m.retried, m.ended, m.claims, m.steps, &spoolCollector{watched: w, now: now},
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "crony_agent_connected", Help: "1 if the agent holds a stream to a server."},
			func() float64 { return truth(w.link.connected.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "crony_agent_certificate_expiry_timestamp_seconds",
			Help: "When this agent's certificate ends; it is renewed long before."},
			func() float64 { return float64(w.link.id.endsAt().Unix()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "crony_build_info", Help: "What this binary was built from; always 1.",
			ConstLabels: prometheus.Labels{"version": info.Version, "revision": info.Revision, "goversion": info.Go}},
			func() float64 { return 1 }),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	registry := prometheus.NewRegistry()
	for _, c := range list {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register the agent's metrics: %w", err)
		}
	}
	return registry, nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// spoolCollector looks at the spool once for all metrics of it.
type spoolCollector struct {
	*watched
	now func() time.Time
}

// figures are the spool's metrics with their values.
func (c *spoolCollector) figures() []figure {
	d := c.reports.depth()
	age := 0.0
	if !d.oldest.IsZero() {
		age = max(c.now().Sub(d.oldest).Seconds(), 0)
	}
	return []figure{
		{"crony_agent_runs_running", "Runs whose process goes on.", float64(c.runner.count())},
		{"crony_agent_runs_waiting", "Runs that wait for their next attempt.", float64(c.runner.paused())},
		{"crony_agent_spool_runs", "Runs that this agent answers for: they go on, or are not delivered.", float64(c.journal.count())},
		{"crony_agent_spool_records", "Facts and stretches of output that are not acknowledged.", float64(d.records)},
		{"crony_agent_spool_bytes", "What the journal and outputs take of the disk.", float64(c.journal.bytes() + d.outputs)},
		{"crony_agent_spool_limit_bytes", "What the journal and outputs may take of the disk.", float64(c.reports.spool.size)},
		{"crony_agent_spool_oldest_seconds", "Age of the oldest that is not acknowledged; 0 if nothing waits.", age},
		{"crony_agent_spool_short", "1 if the disk is short: runs that go on keep only the beginning of their output.", truth(d.short)},
		{"crony_agent_output_dropped_bytes_total", "Bytes of output that were given up for want of disk.", float64(d.lost)},
	}
}

// figure is a metric without labels.
type figure struct {
	name, help string
	value      float64
}

// Describe implements [prometheus.Collector].
func (c *spoolCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements [prometheus.Collector].
func (c *spoolCollector) Collect(out chan<- prometheus.Metric) {
	for _, f := range c.figures() {
		kind := prometheus.GaugeValue
		if f.name == "crony_agent_output_dropped_bytes_total" {
			kind = prometheus.CounterValue
		}
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(f.name, f.help, nil, nil), kind, f.value)
	}
}

// handler serves /metrics, and /livez, which says whether the agent looks after its schedules.
func (w *watched) handler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /livez", func(rw http.ResponseWriter, _ *http.Request) {
		live := w.loop.live()
		rw.Header().Set("Content-Type", "application/json")
		if !live {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(rw, `{"live":%t}`, live)
	})
	return mux
}

// serveMetrics answers at an address until ctx is done. That nobody can watch the agent is no reason for its jobs not to run.
func (a *Agent) serveMetrics(ctx context.Context, w *watched) error {
	registry, err := w.registry(a.opts.Now)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.opts.MetricsListen)
	if err != nil {
		a.log.Error("metrics are not served", "address", a.opts.MetricsListen, "err", err)
		return nil
	}
	server := &http.Server{Handler: w.handler(registry), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { server.Close() }) //nolint:errcheck // nothing is left to save
	defer stop()
	a.log.Info("metrics are served", "address", listener.Addr().String())
	if err := server.Serve(listener); ctx.Err() == nil {
		a.log.Error("metrics are served no more", "err", err)
	}
	return nil
}
