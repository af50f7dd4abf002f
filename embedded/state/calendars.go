package state

import (
	"context"

	"crony"
)

var _ crony.Calendars = (*Store)(nil)

func calendarStatus(p preset, keepers []string) crony.CalendarStatus {
	return crony.CalendarStatus{Calendar: *p.Calendar, UpdatedAt: p.UpdatedAt, UpdatedBy: p.UpdatedBy, Jobs: keepers}
}

// Calendar implements [crony.Calendars].
func (s *Store) Calendar(_ context.Context, name string) (crony.CalendarStatus, error) {
	p, keepers := s.mirror.preset(calendars + name)
	if p.rev == 0 {
		return crony.CalendarStatus{}, noPreset(calendars + name)
	}
	return calendarStatus(p, keepers), nil
}

// ListCalendars implements [crony.Calendars].
func (s *Store) ListCalendars(context.Context) ([]crony.CalendarStatus, error) {
	return listPresets(s.mirror, calendars, calendarStatus), nil
}

// DeleteCalendar implements [crony.Calendars].
func (s *Store) DeleteCalendar(ctx context.Context, name string) error {
	return s.change(ctx, "delete the calendar "+name, func() (*txn, error) { return s.newTxn(ctx).removal(calendars + name) })
}
