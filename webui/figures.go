package webui

import (
	"context"

	"crony"
	"crony/webui/api"
)

// defaultHistory is how many days a history has unless another number is given.
const defaultHistory = 30

// GetOverview returns the fleet's figures.
func (r rest) GetOverview(ctx context.Context, _ api.GetOverviewRequestObject) (api.GetOverviewResponseObject, error) {
	figures, err := r.opts.Figures.Overview(ctx)
	if err != nil {
		return nil, err
	}
	figures.Hours = append([]crony.HourFigures{}, figures.Hours...) // never null
	figures.Worst = append([]crony.JobFigures{}, figures.Worst...)
	return api.GetOverview200JSONResponse(figures), nil
}

// GetHistory returns how all runs ended, day by day.
func (r rest) GetHistory(ctx context.Context, req api.GetHistoryRequestObject) (api.GetHistoryResponseObject, error) {
	days, err := r.history(ctx, "", req.Params.Days)
	if err != nil {
		return nil, err
	}
	return api.GetHistory200JSONResponse{Items: days}, nil
}

// GetJobHistory returns how a job's runs ended, day by day. The job may be gone: its runs stay.
func (r rest) GetJobHistory(
	ctx context.Context, req api.GetJobHistoryRequestObject,
) (api.GetJobHistoryResponseObject, error) {
	days, err := r.history(ctx, req.Name, req.Params.Days)
	if err != nil {
		return nil, err
	}
	return api.GetJobHistory200JSONResponse{Items: days}, nil
}

func (r rest) history(ctx context.Context, job string, given *int) ([]crony.DayFigures, error) {
	days := defaultHistory
	if given != nil {
		days = *given
	}
	if days < 1 || days > crony.MaxHistory {
		return nil, crony.Errorf(crony.Invalid, "days: %d is out of range", days).WithHint("1 to %d", crony.MaxHistory)
	}
	history, err := r.opts.Figures.History(ctx, job, days)
	return append([]crony.DayFigures{}, history...), err // never null
}
