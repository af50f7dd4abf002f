package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"crony"
)

// ListLedger implements [crony.Ledger].
func (c *Client) ListLedger(ctx context.Context, q crony.LedgerQuery) (crony.LedgerPage, error) {
	query := page(q.Limit, q.Cursor)
	set(query, "agent", q.Agent)
	setTime(query, "from", q.From)
	setTime(query, "to", q.To)
	var ledger crony.LedgerPage
	if err := c.ledger(ctx, q.Job, "/ledger", query, &ledger); err != nil {
		return crony.LedgerPage{}, err
	}
	return ledger, nil
}

// ExplainOccurrence implements [crony.Ledger].
func (c *Client) ExplainOccurrence(ctx context.Context, q crony.ExplainQuery) (crony.Explanation, error) {
	query := url.Values{"at": {q.At.UTC().Format(time.RFC3339Nano)}}
	set(query, "agent", q.Agent)
	var answer crony.Explanation
	if err := c.ledger(ctx, q.Job, "/explain", query, &answer); err != nil {
		return crony.Explanation{}, err
	}
	return answer, nil
}

// VerifyLedger implements [crony.Ledger].
func (c *Client) VerifyLedger(ctx context.Context, q crony.VerifyQuery) (crony.Verification, error) {
	query := url.Values{}
	set(query, "agent", q.Agent)
	setTime(query, "from", q.From)
	setTime(query, "to", q.To)
	var shown crony.Verification
	if err := c.ledger(ctx, q.Job, "/verify", query, &shown); err != nil {
		return crony.Verification{}, err
	}
	return shown, nil
}

// ledger asks for something of a job's ledger.
func (c *Client) ledger(ctx context.Context, job, below string, query url.Values, v any) error {
	path, err := item("job", "/jobs/", job)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodGet, path: path + below, query: query}, v)
}

func setTime(query url.Values, key string, t time.Time) {
	if !t.IsZero() {
		query.Set(key, t.UTC().Format(time.RFC3339Nano))
	}
}
