package placement

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what moves, and what should and can't.
type metrics struct {
	moved *prometheus.CounterVec
	stuck prometheus.Gauge
}

// Why jobs move.
const (
	byFailover  = "down"
	byDrain     = "drained"
	byMismatch  = "unmatched"
	byRebalance = "rebalance"
)

func (m *metrics) register(r prometheus.Registerer) error {
	m.moved = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "crony_jobs_moved_total",
		Help: "Jobs that this server, when it led, moved from one agent to another, by why: the agent was down, was drained, " +
			"was not one any more that the job means, or a person asked for a rebalance.",
	}, []string{"why"})
	m.stuck = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "crony_jobs_stuck",
		Help: "Jobs of agents that are down or drained which may not run elsewhere, or which no other agent takes. 0 where the " +
			"server does not lead.",
	})
	for _, c := range []prometheus.Collector{m.moved, m.stuck} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register placement's metrics: %w", err)
		}
	}
	for _, why := range []string{byFailover, byDrain, byMismatch, byRebalance} {
		m.moved.WithLabelValues(why)
	}
	return nil
}
