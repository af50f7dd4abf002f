package replica

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what becomes of records.
type metrics struct {
	appended  prometheus.Counter
	acked     *prometheus.CounterVec
	merged    prometheus.Counter
	healed    prometheus.Counter
	refreshed prometheus.Counter
	quorum    prometheus.Histogram
}

func (m *metrics) register(r prometheus.Registerer, l *Log) error {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m.appended = counter("crony_runlog_appended_total",
		"Records that were appended on this server, and are on the disks of most servers.")
	m.acked = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "crony_runlog_acked_total",
		Help: "Batches of records appended on this server that another server has put on its disk."}, []string{"server"})
	m.merged = counter("crony_runlog_merged_total", "Batches of records that other servers have sent to this one.")
	m.healed = counter("crony_runlog_healed_total",
		"Records that this server lacked, and has fetched from others when the logs were compared.")
	m.refreshed = counter("crony_runlog_refreshed_total", "Runs of which other servers were asked before this one judged.")
	m.quorum = prometheus.NewHistogram(prometheus.HistogramOpts{Name: "crony_runlog_quorum_seconds",
		Help:    "How long it took until appended records were on the disks of most servers.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)})
	for _, c := range []prometheus.Collector{m.appended, m.acked, m.merged, m.healed, m.refreshed, m.quorum, newCollector(l)} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the metrics of the run logs: %w", err)
		}
	}
	return nil
}

// collector gives what is known of each other server.
type collector struct {
	l                     *Log
	hints, differing, age *prometheus.Desc
	whole                 *prometheus.Desc
}

func newCollector(l *Log) *collector {
	of := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &collector{l: l,
		hints: of("crony_runlog_hints", "Runs, stretches and batches of records that another server is still to be sent.", "server"),
		differing: of("crony_runlog_differing_days",
			"Days of which this server's run log and another's did not hold the same when they were compared last.", "server"),
		age: of("crony_runlog_exchange_age_seconds", "How long ago the run log was compared with another server's.", "server"),
		whole: of("crony_runlog_whole",
			"1 if the run log was compared with those of most servers since this one started, and lacked nothing then."),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- c.hints
	out <- c.differing
	out <- c.age
	out <- c.whole
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(out chan<- prometheus.Metric) {
	status := c.l.Status()
	gauge := func(what *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(what, prometheus.GaugeValue, value, labels...)
	}
	for _, o := range status.Others {
		gauge(c.hints, float64(o.Behind), o.Server)
		gauge(c.differing, float64(o.DifferingDays), o.Server)
	}
	for _, o := range c.l.members.Load().others {
		if age, ok := o.age(c.l.opts.Now()); ok {
			gauge(c.age, age.Seconds(), o.id)
		}
	}
	whole := 0.0
	if status.Whole {
		whole = 1
	}
	gauge(c.whole, whole)
}
