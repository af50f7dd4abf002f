package webui

import (
	"context"

	"crony"
	"crony/webui/api"
)

// SearchOutput returns a page of the lines of output that match.
func (r rest) SearchOutput(ctx context.Context, req api.SearchOutputRequestObject) (api.SearchOutputResponseObject, error) {
	limit, err := pageLimit(req.Params.Limit)
	if err != nil {
		return nil, err
	}
	chosen := outputSelectionOf(&req.Params)
	runs, err := chosen.query()
	if err != nil {
		return nil, err
	}
	page, err := r.opts.Outputs.SearchOutput(ctx, crony.OutputQuery{
		Runs: runs, Text: deref(req.Params.Text), Pattern: deref(req.Params.Pattern), Limit: limit,
		Cursor: deref(req.Params.Cursor), Context: deref(req.Params.Context),
	})
	if err != nil {
		return nil, err
	}
	page.Items = append([]crony.OutputHit{}, page.Items...) // never null
	return api.SearchOutput200JSONResponse(page), nil
}
