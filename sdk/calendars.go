package sdk

import (
	"context"
	"net/http"

	"crony"
)

// Calendar implements [crony.Calendars].
func (c *Client) Calendar(ctx context.Context, name string) (crony.CalendarStatus, error) {
	path, err := item("calendar", "/calendars/", name)
	if err != nil {
		return crony.CalendarStatus{}, err
	}
	var status crony.CalendarStatus
	if err := c.do(ctx, call{method: http.MethodGet, path: path}, &status); err != nil {
		return crony.CalendarStatus{}, err
	}
	return status, nil
}

// ListCalendars implements [crony.Calendars].
func (c *Client) ListCalendars(ctx context.Context) ([]crony.CalendarStatus, error) {
	var answer struct {
		Items []crony.CalendarStatus `json:"items"`
	}
	if err := c.do(ctx, call{method: http.MethodGet, path: "/calendars"}, &answer); err != nil {
		return nil, err
	}
	return answer.Items, nil
}

// DeleteCalendar implements [crony.Calendars].
func (c *Client) DeleteCalendar(ctx context.Context, name string) error {
	path, err := item("calendar", "/calendars/", name)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}
