package webui

import (
	"context"
	"time"

	"crony/webui/api"
)

// Facts are what a server says of itself and of its cluster.
type Facts struct {
	ID        string // of the server
	Version   string
	Cluster   string // its id
	Leader    string // the leading server's id; "" while there is none
	StartedAt time.Time

	Jobs         int
	PausedJobs   int
	UnplacedJobs int // that no agent has
	Agents       int
	Running      int // runs that go on
}

// GetServer returns the figures of the overview.
func (r rest) GetServer(ctx context.Context, _ api.GetServerRequestObject) (api.GetServerResponseObject, error) {
	f, err := r.opts.Facts(ctx)
	if err != nil {
		return nil, err
	}
	return api.GetServer200JSONResponse{
		Id: f.ID, Version: f.Version, Cluster: f.Cluster, Leader: f.Leader,
		StartedAt: f.StartedAt.UTC(), Now: r.opts.Now().UTC(),
		Jobs: f.Jobs, PausedJobs: f.PausedJobs, UnplacedJobs: f.UnplacedJobs, Agents: f.Agents, Running: f.Running,
	}, nil
}
