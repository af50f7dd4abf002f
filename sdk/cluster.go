package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"crony"
)

// ClusterStatus implements [crony.Cluster].
func (c *Client) ClusterStatus(ctx context.Context) (crony.ClusterStatus, error) {
	var status crony.ClusterStatus
	if err := c.do(ctx, call{method: http.MethodGet, path: "/cluster"}, &status); err != nil {
		return crony.ClusterStatus{}, err
	}
	return status, nil
}

// RemoveServer implements [crony.Cluster].
func (c *Client) RemoveServer(ctx context.Context, server string) error {
	path, err := item("server", "/cluster/servers/", server)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}

// PromoteServer implements [crony.Cluster].
func (c *Client) PromoteServer(ctx context.Context, server string) error {
	path, err := item("server", "/cluster/servers/", server)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodPost, path: path + "/promote"}, nil)
}

// TransferLeadership implements [crony.Cluster].
func (c *Client) TransferLeadership(ctx context.Context, server string) error {
	return c.post(ctx, "/cluster/transfer", struct {
		Server string `json:"server,omitempty"`
	}{server}, nil)
}

// RotateAuthority implements [crony.Cluster].
func (c *Client) RotateAuthority(ctx context.Context, step crony.RotateStep, force bool) error {
	return c.post(ctx, "/cluster/authority", struct {
		Step  crony.RotateStep `json:"step"`
		Force bool             `json:"force,omitempty"`
	}{step, force}, nil)
}

// RemoveAgent implements [crony.Cluster].
func (c *Client) RemoveAgent(ctx context.Context, agent string) error {
	path, err := item("agent", "/agents/", agent)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}

// CreateJoinToken implements [crony.Cluster].
func (c *Client) CreateJoinToken(ctx context.Context, spec crony.JoinTokenSpec) (crony.JoinToken, error) {
	var token crony.JoinToken
	if err := c.post(ctx, "/join-tokens", spec, &token); err != nil {
		return crony.JoinToken{}, err
	}
	return token, nil
}

// ListJoinTokens implements [crony.Cluster].
func (c *Client) ListJoinTokens(ctx context.Context) ([]crony.JoinToken, error) {
	var answer struct {
		Items []crony.JoinToken `json:"items"`
	}
	if err := c.do(ctx, call{method: http.MethodGet, path: "/join-tokens"}, &answer); err != nil {
		return nil, err
	}
	return answer.Items, nil
}

// DeleteJoinToken implements [crony.Cluster].
func (c *Client) DeleteJoinToken(ctx context.Context, id string) error {
	path, err := item("join token", "/join-tokens/", id)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}

// Backup writes an archive of all that the cluster keeps to w, for age recipients; for the cluster's own if none is given.
// It takes as long as it takes: end ctx to give up. After an error, what was written is a part of an archive and of no use.
// An error of w is wrapped.
func (c *Client) Backup(ctx context.Context, w io.Writer, recipients []string) error {
	k := call{method: http.MethodGet, path: "/backup", accept: "application/octet-stream"}
	if len(recipients) > 0 {
		k.query = url.Values{"recipient": recipients}
	}
	resp, err := c.send(ctx, k)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	from := &source{r: resp.Body}
	if _, err := io.Copy(w, from); err != nil {
		if from.err != nil {
			return c.broken(ctx, from.err)
		}
		return fmt.Errorf("write the archive: %w", err)
	}
	return nil
}

// source tells an error of reading from one of writing.
type source struct {
	r   io.Reader
	err error
}

// Read implements [io.Reader].
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// post makes a POST whose body is JSON.
func (c *Client) post(ctx context.Context, path string, body, v any) error {
	return c.give(ctx, http.MethodPost, path, body, v)
}

// give makes a call whose body is JSON.
func (c *Client) give(ctx context.Context, method, path string, body, v any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the request %s: %w", path, err)
	}
	return c.do(ctx, call{method: method, path: path, body: data, bodyType: "application/json"}, v)
}
