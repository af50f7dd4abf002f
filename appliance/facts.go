package appliance

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"crony"
	"crony/embedded/state"
	"crony/internal/version"
	"crony/webui"
)

// facts are the figures that a person sees first.
func (s *Server) facts(context.Context) (webui.Facts, error) {
	counts := s.Store.Counts()
	return webui.Facts{
		ID: s.ID, Version: version.Read().Version, Cluster: s.Cluster, Leader: s.Store.Leader(), StartedAt: s.started,
		Jobs: counts.Jobs, PausedJobs: counts.Paused, UnplacedJobs: counts.Unplaced, Agents: counts.Agents,
		Running: s.Runs.Running(),
	}, nil
}

// ready says whether the server can serve, part by part. The reasons are for strangers too.
func (s *Server) ready(context.Context) []webui.Check {
	member := webui.Check{Name: "etcd", OK: true}
	if err := s.member.Ready(); err != nil {
		member.OK, member.Reason = false, err.Error()
	}
	leader := webui.Check{Name: "leader", OK: s.Store.Leader() != ""}
	if !leader.OK {
		leader.Reason = "no server leads yet: jobs run where they are, and new ones wait"
	}
	return []webui.Check{member, leader}
}

// account is what the ledger answers from.
type account struct{ *Server }

// Occurrences implements ledger.RunLog.
func (a account) Occurrences(ctx context.Context, job string, from, to time.Time, limit int) ([]crony.Run, time.Time, error) {
	return a.Runs.Occurrences(ctx, job, from, to, limit)
}

// Stretches implements ledger.RunLog: what is in the run log, and what is on its way there.
func (a account) Stretches(ctx context.Context, job string, from, to time.Time, limit int) ([]crony.Stretch, time.Time, error) {
	coming := a.Store.PassesOf(job) // first: what arrives meanwhile is then seen twice, and not missed
	list, next, err := a.Runs.Stretches(ctx, job, from, to, limit)
	if err != nil {
		return nil, next, err
	}
	for i := range coming {
		s, ok := coming[i].Stretch()
		if ok && !s.To.Before(from) && !s.From.After(to) && (next.IsZero() || s.To.Before(next)) {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(x, y crony.Stretch) int { return cmp.Or(x.To.Compare(y.To), x.From.Compare(y.From)) })
	return list, next, nil
}

// fleet is the agents, with what the run log knows of them.
type fleet struct{ *Server }

// ListAgents implements crony.Agents.
func (f fleet) ListAgents(ctx context.Context) ([]crony.AgentStatus, error) {
	list, err := f.Store.ListAgents(ctx)
	for i := range list {
		list[i].Running = f.Runs.RunningOn(list[i].ID)
	}
	return list, err
}

// Agent implements crony.Agents.
func (f fleet) Agent(ctx context.Context, idOrName string) (crony.AgentStatus, error) {
	a, err := f.Store.Agent(ctx, idOrName)
	a.Running = f.Runs.RunningOn(a.ID)
	return a, err
}

// ChangeAgent implements crony.Agents.
func (f fleet) ChangeAgent(ctx context.Context, idOrName string, change crony.AgentChange) (crony.AgentStatus, error) {
	a, err := f.Store.ChangeAgent(ctx, idOrName, change)
	a.Running = f.Runs.RunningOn(a.ID)
	return a, err
}

// AgentFigures implements crony.Agents.
func (f fleet) AgentFigures(ctx context.Context, idOrName string) (crony.HostFigures, error) {
	return f.Store.AgentFigures(ctx, idOrName)
}

// events joins the changes of the keyspace and of the run log.
type events struct{ *Server }

// Subscribe implements webui.Events. Neither source waits for the reader: the keyspace remembers the names that changed, and
// the run log says when it had to leave something out.
func (e events) Subscribe(ctx context.Context) <-chan webui.Event {
	out := make(chan webui.Event, 16)
	feed := e.Store.Changes("")
	runs := e.Runs.Subscribe(ctx)
	var sources sync.WaitGroup
	sources.Go(func() {
		for change := range runs {
			event := webui.Event{Run: &change.Run}
			if change.Reset {
				event = webui.Event{Reset: true}
			}
			if !offer(ctx, out, event) {
				return
			}
		}
	})
	sources.Go(func() {
		defer feed.Close()
		feed.Next(ctx) //nolint:errcheck // the first is always a reset: the reader has only just begun
		for {
			changes, err := feed.Next(ctx)
			if err != nil || !offerAll(ctx, out, changes) {
				return
			}
		}
	})
	go func() {
		sources.Wait()
		close(out)
	}()
	return out
}

func offerAll(ctx context.Context, out chan<- webui.Event, c state.Changes) bool {
	if c.Reset {
		return offer(ctx, out, webui.Event{Reset: true})
	}
	for _, name := range c.Jobs {
		if !offer(ctx, out, webui.Event{Job: name}) {
			return false
		}
	}
	for _, id := range c.Agents {
		if !offer(ctx, out, webui.Event{Agent: id}) {
			return false
		}
	}
	return true
}

func offer(ctx context.Context, out chan<- webui.Event, e webui.Event) bool {
	select {
	case out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}

func truth(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// registerMetrics adds the server's own figures.
func (s *Server) registerMetrics(r prometheus.Registerer) error {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	info := version.Read()
	collectors := []prometheus.Collector{
		gauge("crony_jobs", "Jobs that are defined.", func() float64 { return float64(s.Store.Counts().Jobs) }),
		gauge("crony_jobs_paused", "Jobs that are paused.", func() float64 { return float64(s.Store.Counts().Paused) }),
		gauge("crony_jobs_unplaced", "Jobs that no agent has.", func() float64 { return float64(s.Store.Counts().Unplaced) }),
		gauge("crony_agents", "Agents that are connected to any server.", func() float64 { return float64(s.Store.Counts().Agents) }),
		gauge("crony_runs_running", "Runs that go on.", func() float64 { return float64(s.Runs.Running()) }),
		gauge("crony_quorum", "1 if this server's store knows a leader.", func() float64 { return truth(s.member.Ready() == nil) }),
		gauge("crony_store_size_bytes", "Size of the store's file.", func() float64 { return float64(s.member.Status().Size) }),
		gauge("crony_store_in_use_bytes", "What of the store's file holds data.",
			func() float64 { return float64(s.member.Status().InUse) }),
		gauge("crony_certificate_expiry_timestamp_seconds", "When this server's certificate ends; it is renewed long before.",
			func() float64 { return float64(s.self().CertificateEnd.Unix()) }),
		gauge("crony_authority_expiry_timestamp_seconds", "When the authority that signs certificates ends.",
			func() float64 { return float64(s.id.trust.Roots()[0].EndsAt().Unix()) }),
		gauge("crony_leading", "1 if this server leads.",
			func() float64 { return truth(s.Store.Leader() == s.ID && s.member.Leading()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "crony_build_info", Help: "What this binary was built from; always 1.",
			ConstLabels: prometheus.Labels{"version": info.Version, "revision": info.Revision, "goversion": info.Go}},
			func() float64 { return 1 }),
	}
	for _, c := range append(collectors, s.runMetrics()...) {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register the server's metrics: %w", err)
		}
	}
	return nil
}
