package appliance

import (
	"cmp"
	"context"

	"crony"
	"crony/appliance/orders"
	"crony/appliance/replica"
	"crony/embedded/runlog"
	"crony/embedded/state"
)

// records is the run log of the cluster: it is read on this server, and written on most.
type records struct {
	*runlog.Log
	all *replica.Log
}

// Append implements [hub.RunLog].
func (r records) Append(ctx context.Context, facts []crony.Fact, chunks []crony.Chunk) error {
	return r.all.Append(ctx, facts, chunks)
}

// AppendStretches implements [ledger.Keeper].
func (r records) AppendStretches(ctx context.Context, list []crony.Stretch) error {
	return r.all.AppendStretches(ctx, list)
}

// Refresh implements [hub.RunLog] and [ledger.Keeper].
func (r records) Refresh(ctx context.Context, runs ...crony.RunID) error {
	return r.all.Refresh(ctx, runs...)
}

// runs is what people see of runs, and do to them.
type runs struct {
	*runlog.Log
	*orders.Orders

	state *state.Store
}

// Run implements [crony.Runs].
func (r runs) Run(ctx context.Context, id crony.RunID) (crony.Run, error) {
	run, err := r.Log.Run(ctx, id)
	if err == nil {
		r.explain(&run)
	}
	return run, err
}

// ListRuns implements [crony.Runs].
func (r runs) ListRuns(ctx context.Context, q crony.RunQuery) (crony.RunPage, error) {
	page, err := r.Log.ListRuns(ctx, q)
	for i := range page.Items {
		r.explain(&page.Items[i])
	}
	return page, err
}

// explain says of a run that waits for others of its job what it waits for.
func (r runs) explain(run *crony.Run) {
	if run.State != crony.Claimed {
		return
	}
	for _, held := range r.state.LocksOn(run.Job, run.Agent) {
		if held.Run == run.ID && held.Waits {
			run.Reason = "waits for run " + string(held.Behind) + " of the job to end"
		}
	}
}

// voters are the servers that vote, and where they answer each other. One that has not said yet who it is counts all the same.
func (s *Server) voters() ([]replica.Member, error) {
	members, err := s.member.Members(context.Background())
	if err != nil {
		return nil, err
	}
	addresses := map[string]string{}
	for _, server := range s.Store.Servers() {
		addresses[server.ID] = server.Agents
	}
	var list []replica.Member
	for _, m := range members {
		if !m.Learner {
			list = append(list, replica.Member{ID: cmp.Or(m.Server, m.Address), Address: addresses[m.Server]})
		}
	}
	return list, nil
}
