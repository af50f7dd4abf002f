package sdk

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"crony"
)

// SearchOutput implements [crony.OutputSearch].
func (c *Client) SearchOutput(ctx context.Context, q crony.OutputQuery) (crony.OutputPage, error) {
	query := page(q.Limit, q.Cursor)
	setRuns(query, &q.Runs)
	set(query, "text", q.Text)
	set(query, "pattern", q.Pattern)
	if q.Context != 0 {
		query.Set("context", strconv.Itoa(q.Context))
	}
	var hits crony.OutputPage
	if err := c.do(ctx, call{method: http.MethodGet, path: "/outputs/search", query: query}, &hits); err != nil {
		return crony.OutputPage{}, err
	}
	return hits, nil
}

// History implements [crony.Figures].
func (c *Client) History(ctx context.Context, job string, days int) ([]crony.DayFigures, error) {
	path := ""
	if job != "" {
		var err error
		if path, err = item("job", "/jobs/", job); err != nil {
			return nil, err
		}
	}
	var answer struct {
		Items []crony.DayFigures `json:"items"`
	}
	query := url.Values{"days": {strconv.Itoa(days)}}
	if err := c.do(ctx, call{method: http.MethodGet, path: path + "/history", query: query}, &answer); err != nil {
		return nil, err
	}
	return answer.Items, nil
}

// Overview implements [crony.Figures].
func (c *Client) Overview(ctx context.Context) (crony.Overview, error) {
	var figures crony.Overview
	if err := c.do(ctx, call{method: http.MethodGet, path: "/overview"}, &figures); err != nil {
		return crony.Overview{}, err
	}
	return figures, nil
}
