package sdk

import (
	"context"
	"net/http"

	"crony"
)

// Script implements [crony.Scripts].
func (c *Client) Script(ctx context.Context, name string) (crony.ScriptStatus, error) {
	path, err := item("script", "/scripts/", name)
	if err != nil {
		return crony.ScriptStatus{}, err
	}
	var status crony.ScriptStatus
	if err := c.do(ctx, call{method: http.MethodGet, path: path}, &status); err != nil {
		return crony.ScriptStatus{}, err
	}
	return status, nil
}

// ListScripts implements [crony.Scripts].
func (c *Client) ListScripts(ctx context.Context) ([]crony.ScriptStatus, error) {
	var answer struct {
		Items []crony.ScriptStatus `json:"items"`
	}
	if err := c.do(ctx, call{method: http.MethodGet, path: "/scripts"}, &answer); err != nil {
		return nil, err
	}
	return answer.Items, nil
}

// DeleteScript implements [crony.Scripts].
func (c *Client) DeleteScript(ctx context.Context, name string) error {
	path, err := item("script", "/scripts/", name)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}
