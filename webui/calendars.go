package webui

import (
	"context"

	"crony"
	"crony/webui/api"
)

// ListCalendars returns all calendars.
func (r rest) ListCalendars(ctx context.Context, _ api.ListCalendarsRequestObject) (api.ListCalendarsResponseObject, error) {
	calendars, err := r.opts.Calendars.ListCalendars(ctx)
	if err != nil {
		return nil, err
	}
	items := make([]crony.CalendarStatus, len(calendars)) // never null
	for i, c := range calendars {
		items[i] = listed(c)
	}
	return api.ListCalendars200JSONResponse{Items: items}, nil
}

// GetCalendar returns one calendar.
func (r rest) GetCalendar(ctx context.Context, req api.GetCalendarRequestObject) (api.GetCalendarResponseObject, error) {
	calendar, err := r.opts.Calendars.Calendar(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return api.GetCalendar200JSONResponse(listed(calendar)), nil
}

// DeleteCalendar removes a calendar that no job keeps.
func (r rest) DeleteCalendar(
	ctx context.Context, req api.DeleteCalendarRequestObject,
) (api.DeleteCalendarResponseObject, error) {
	if err := r.opts.Calendars.DeleteCalendar(ctx, req.Name); err != nil {
		return nil, err
	}
	return api.DeleteCalendar204Response{}, nil
}

// listed is a calendar whose list of jobs is one, even if there are none.
func listed(c crony.CalendarStatus) crony.CalendarStatus {
	c.Jobs = append([]string{}, c.Jobs...)
	return c
}
