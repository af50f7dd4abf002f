package hub

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"crony"
)

// metrics counts what goes through the hub.
type metrics struct {
	claims   *prometheus.CounterVec
	ended    *prometheus.CounterVec
	refusals prometheus.Counter
	moved    prometheus.Counter
}

func (m *metrics) register(r prometheus.Registerer, connected func() float64) error {
	m.claims = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "crony_claims_total", Help: "Claims that agents asked this server for, by what was decided."}, []string{"decision"})
	m.ended = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "crony_runs_ended_total",
		Help: "Ends of runs that agents reported to this server, by state; a report that is repeated counts again.",
	}, []string{"state"})
	m.refusals = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "crony_refusals_total", Help: "Connections, calls, streams and requests of agents and servers that this server refused."})
	m.moved = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "crony_agents_moved_total", Help: "Agents that this server asked to go to a server that holds fewer."})
	agents := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "crony_agents_connected", Help: "Agents that hold a stream to this server."}, connected)
	for _, c := range []prometheus.Collector{m.claims, m.ended, m.refusals, m.moved, agents} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the hub's metrics: %w", err)
		}
	}
	return nil
}

func (m *metrics) claim(granted bool) {
	decision := "refused"
	if granted {
		decision = "granted"
	}
	m.claims.WithLabelValues(decision).Inc()
}

func (m *metrics) stored(facts []crony.Fact) {
	for i := range facts {
		if end := facts[i].Ended; end != nil {
			m.ended.WithLabelValues(string(end.State)).Inc()
		}
	}
}
