package sdk

import (
	"context"
	"net/http"
	"time"

	"crony"
)

// ListAgents implements [crony.Agents].
func (c *Client) ListAgents(ctx context.Context) ([]crony.AgentStatus, error) {
	var answer struct {
		Items []crony.AgentStatus `json:"items"`
	}
	if err := c.do(ctx, call{method: http.MethodGet, path: "/agents"}, &answer); err != nil {
		return nil, err
	}
	return answer.Items, nil
}

// Agent implements [crony.Agents].
func (c *Client) Agent(ctx context.Context, idOrName string) (crony.AgentStatus, error) {
	path, err := item("agent", "/agents/", idOrName)
	if err != nil {
		return crony.AgentStatus{}, err
	}
	var a crony.AgentStatus
	if err := c.do(ctx, call{method: http.MethodGet, path: path}, &a); err != nil {
		return crony.AgentStatus{}, err
	}
	return a, nil
}

// ChangeAgent implements [crony.Agents].
func (c *Client) ChangeAgent(ctx context.Context, idOrName string, change crony.AgentChange) (crony.AgentStatus, error) {
	path, err := item("agent", "/agents/", idOrName)
	if err != nil {
		return crony.AgentStatus{}, err
	}
	var a crony.AgentStatus
	if err := c.give(ctx, http.MethodPatch, path, change, &a); err != nil {
		return crony.AgentStatus{}, err
	}
	return a, nil
}

// AgentFigures implements [crony.Agents].
func (c *Client) AgentFigures(ctx context.Context, idOrName string) (crony.HostFigures, error) {
	path, err := item("agent", "/agents/", idOrName)
	if err != nil {
		return crony.HostFigures{}, err
	}
	var figures crony.HostFigures
	if err := c.do(ctx, call{method: http.MethodGet, path: path + "/figures"}, &figures); err != nil {
		return crony.HostFigures{}, err
	}
	return figures, nil
}

// Server is the server that answers, and the figures of the whole cluster as it sees them.
type Server struct {
	ID           string    `json:"id"`
	Version      string    `json:"version"`
	Cluster      string    `json:"cluster"` // the cluster's id
	Leader       string    `json:"leader"`  // the leading server's id; "" while there is none
	StartedAt    time.Time `json:"started_at"`
	Now          time.Time `json:"now"` // by the server's clock
	Jobs         int       `json:"jobs"`
	PausedJobs   int       `json:"paused_jobs"`
	UnplacedJobs int       `json:"unplaced_jobs"` // jobs that no agent has
	Agents       int       `json:"agents"`
	Running      int       `json:"running"` // runs that go on
}

// Server returns the server that answers.
func (c *Client) Server(ctx context.Context) (Server, error) {
	var s Server
	if err := c.do(ctx, call{method: http.MethodGet, path: "/server"}, &s); err != nil {
		return Server{}, err
	}
	return s, nil
}
