package webui

import (
	"context"
	"net/http"
	"strings"
	"time"

	"crony"
	"crony/webui/api"
)

// ListLedger returns a page of what became of a job's occurrences.
func (r rest) ListLedger(ctx context.Context, req api.ListLedgerRequestObject) (api.ListLedgerResponseObject, error) {
	from, to, err := span(req.Params.From, req.Params.To)
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(req.Params.Limit)
	if err != nil {
		return nil, err
	}
	page, err := r.opts.Ledger.ListLedger(ctx, crony.LedgerQuery{
		Job: req.Name, Agent: deref(req.Params.Agent), From: from, To: to, Limit: limit, Cursor: deref(req.Params.Cursor),
	})
	if err != nil {
		return nil, err
	}
	return api.ListLedger200JSONResponse{Items: append([]crony.LedgerEntry{}, page.Items...), Next: page.Next}, nil
}

// ExplainOccurrence says what became of an occurrence, and why.
func (r rest) ExplainOccurrence(
	ctx context.Context, req api.ExplainOccurrenceRequestObject,
) (api.ExplainOccurrenceResponseObject, error) {
	at, err := instant("at", req.Params.At)
	if err != nil {
		return nil, err
	}
	answer, err := r.opts.Ledger.ExplainOccurrence(ctx, crony.ExplainQuery{Job: req.Name, At: at, Agent: deref(req.Params.Agent)})
	if err != nil {
		return nil, err
	}
	return api.ExplainOccurrence200JSONResponse(answer), nil
}

// VerifyLedger tells what of a job's ledger does not agree with its definitions.
func (r rest) VerifyLedger(ctx context.Context, req api.VerifyLedgerRequestObject) (api.VerifyLedgerResponseObject, error) {
	from, to, err := span(req.Params.From, req.Params.To)
	if err != nil {
		return nil, err
	}
	q := crony.VerifyQuery{Job: req.Name, Agent: deref(req.Params.Agent), From: from, To: to}
	shown, err := r.opts.Ledger.VerifyLedger(ctx, q)
	if err != nil {
		return nil, err
	}
	shown.Faults = append([]crony.LedgerFault{}, shown.Faults...) // never null
	if shown.Ends == nil {
		shown.Ends = map[crony.End]int64{}
	}
	return api.VerifyLedger200JSONResponse(shown), nil
}

// span reads the two ends of a time; what is not given is the zero time.
func span(givenFrom, givenTo *string) (from, to time.Time, err error) {
	if givenFrom != nil {
		if from, err = instant("from", *givenFrom); err != nil {
			return from, to, err
		}
	}
	if givenTo != nil {
		to, err = instant("to", *givenTo)
	}
	return from, to, err
}

// instant reads the query's key as it is read in a body. The generated code would take a mere day too, and say nothing of what
// is wrong with the rest.
func instant(key, text string) (time.Time, error) {
	var t time.Time
	if err := t.UnmarshalText([]byte(text)); err != nil {
		refused := crony.Errorf(crony.Invalid, "%s: %.60q is not a time", key, text).WithHint("write it as 2027-01-31T18:00:00Z")
		if strings.Contains(text, " ") {
			refused.Hint += "; in a URL a + is written %2B"
		}
		return t, withStatus(http.StatusBadRequest, refused)
	}
	return t.UTC(), nil
}
