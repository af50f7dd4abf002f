package state

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// How calendars and the definitions that hold their contents stay the same, whoever writes at once:
//
//   - who defines a job expects the revision of each calendar that it keeps, so that the contents are those of now;
//   - who changes a calendar defines each job that keeps it anew in the same transaction, and so expects the revision of
//     each of their definitions;
//   - a job that begins to keep a calendar gives the calendar's key a new revision, so that whoever changes or deletes the
//     calendar at the same time, and has not seen the job, has to look again.

var _ crony.Calendars = (*Store)(nil)

// calendar is what is stored of one.
type calendar struct {
	Calendar  crony.Calendar `json:"calendar"`
	UpdatedAt time.Time      `json:"updated_at"`
	UpdatedBy string         `json:"updated_by,omitempty"`

	rev int64 // of its key; 0: there is none
}

// status returns the calendar as people see it; keepers are the names of its jobs, in any order.
func (c *calendar) status(keepers []string) crony.CalendarStatus {
	slices.Sort(keepers)
	return crony.CalendarStatus{Calendar: c.Calendar, UpdatedAt: c.UpdatedAt, UpdatedBy: c.UpdatedBy, Jobs: keepers}
}

// Calendar implements [crony.Calendars].
func (s *Store) Calendar(_ context.Context, name string) (crony.CalendarStatus, error) {
	c, keepers := s.mirror.calendar(name)
	if c.rev == 0 {
		return crony.CalendarStatus{}, noCalendar(name)
	}
	return c.status(keepers), nil
}

func noCalendar(name string) error {
	return crony.Errorf(crony.NotFound, "there is no calendar %.80q", name).
		WithHint("`crony calendar list` shows the calendars")
}

// ListCalendars implements [crony.Calendars].
func (s *Store) ListCalendars(context.Context) ([]crony.CalendarStatus, error) {
	s.mirror.mu.RLock()
	names := slices.Sorted(maps.Keys(s.mirror.calendars))
	s.mirror.mu.RUnlock()
	list := make([]crony.CalendarStatus, 0, len(names))
	for _, name := range names {
		if c, keepers := s.mirror.calendar(name); c.rev != 0 {
			list = append(list, c.status(keepers))
		}
	}
	return list, nil
}

// DeleteCalendar implements [crony.Calendars].
func (s *Store) DeleteCalendar(ctx context.Context, name string) error {
	return s.change(ctx, "delete the calendar "+name, func() (*txn, error) {
		t := s.newTxn(ctx)
		c, keepers := s.mirror.calendar(name)
		switch {
		case c.rev == 0:
			return nil, noCalendar(name)
		case len(keepers) > 0:
			return nil, crony.Errorf(crony.Conflict, "%s the calendar %s: %s", jobsKeep(len(keepers)), name, some(keepers)).
				WithHint("take it out of their `calendars:` first")
		}
		t.expect(calendars+name, c.rev)
		t.remove(calendars + name)
		return t, nil
	})
}

func jobsKeep(n int) string {
	if n == 1 {
		return "1 job keeps"
	}
	return fmt.Sprintf("%d jobs keep", n)
}

// some lists the first five names.
func some(names []string) string {
	const most = 5
	slices.Sort(names)
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// calendar returns a calendar, its rev 0 if there is none, and the names of the jobs that keep it: both as of one revision.
func (m *mirror) calendar(name string) (calendar, []string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	keepers := make([]string, 0, len(m.jobs.keepers[name]))
	for job := range m.jobs.keepers[name] {
		keepers = append(keepers, job)
	}
	return m.calendars[name], keepers
}

// putCalendar takes a calendar in. A new revision of the same contents leaves the contents where they are; see
// [mirror.share].
func (m *mirror) putCalendar(name string, value []byte, rev int64) error {
	c, err := decode[calendar](value)
	if err != nil {
		return err
	}
	if old, ok := m.calendars[name]; ok && reflect.DeepEqual(old.Calendar, c.Calendar) {
		c.Calendar = old.Calendar
	}
	c.rev = rev
	m.calendars[name] = c
	return nil
}

// share lets a definition have its calendars' contents in common with all others that keep them: a hundred thousand jobs
// may keep one calendar.
func (m *mirror) share(def *crony.Definition) {
	for i := range def.Calendars {
		if c := m.calendars[def.Calendars[i].Name]; reflect.DeepEqual(c.Calendar, def.Calendars[i]) {
			def.Calendars[i] = c.Calendar
		}
	}
}

// keep enters a job among those that keep its calendars, or with by -1 takes it out.
func (x *index) keep(j *job, by int) {
	for _, use := range j.def.Job.Calendars {
		among(x.keepers, use.Name, j.name, by > 0)
	}
}

// defining is one attempt to define all that a manifest holds.
type defining struct {
	*txn
	given    map[string]int            // place in the manifest of its calendars
	contents map[string]crony.Calendar // of calendars that were looked up, as they will be
	written  map[string]bool           // calendars whose key this transaction writes
	keepers  map[string]string         // of calendars that change: job to the first of them, for those not in the manifest
	parts    [][]clientv3.Op           // that are written together
	applied  []crony.Applied
	faults   []crony.Fault
}

// manifest adds all that m defines to the transaction.
func (d *defining) manifest(m *crony.Manifest, opts crony.ApplyOptions) error {
	for i := range m.Calendars {
		d.calendar(i, &m.Calendars[i])
	}
	for i := range m.Jobs {
		want := &m.Jobs[i]
		old := d.look(want.Name)
		if err := precondition(opts.IfGeneration, old); err != nil {
			return err
		}
		delete(d.keepers, want.Name)
		applied, faults := d.job(old, want)
		d.applied = append(d.applied, applied)
		for _, f := range faults {
			f.Path = fmt.Sprintf("jobs[%d].%s", i, f.Path)
			d.faults = append(d.faults, f)
		}
	}
	d.redefine()
	if len(d.faults) > 0 {
		return &crony.Error{Code: crony.Invalid, Message: "jobs can't keep the calendars that they name", Faults: d.faults}
	}
	d.ops = nest(d.parts)
	if len(d.ops) > maxOps || len(d.conditions) > maxOps {
		return crony.Errorf(crony.TooLarge, "%d definitions would change at once, with the assignments of their jobs: too many", len(d.parts)).
			WithHint("split the manifest")
	}
	return nil
}

// calendar defines one calendar, the i-th of the manifest, and notes the jobs that change with it.
func (d *defining) calendar(i int, want *crony.Calendar) {
	old, keepers := d.store.mirror.calendar(want.Name)
	d.given[want.Name] = i
	done := crony.Applied{Kind: crony.KindCalendar, Name: want.Name, Action: crony.Updated}
	switch {
	case old.rev == 0:
		done.Action = crony.Created
	case sameJSON(old.Calendar, want):
		d.loose = true
		done.Action = crony.Unchanged
	}
	d.applied = append(d.applied, done)
	if done.Action == crony.Unchanged {
		return
	}
	d.expect(calendars+want.Name, old.rev)
	d.written[want.Name], d.contents[want.Name] = true, *want
	body := calendar{Calendar: *want, UpdatedAt: later(d.now, old.UpdatedAt), UpdatedBy: d.actor}
	d.parts = append(d.parts, []clientv3.Op{clientv3.OpPut(calendars+want.Name, encode(body))})
	for _, job := range keepers {
		if d.keepers[job] == "" {
			d.keepers[job] = want.Name
		}
	}
}

// job defines one job with the calendars that it keeps, in place of old. The faults' paths are the job's.
func (d *defining) job(old job, want *crony.Job) (crony.Applied, []crony.Fault) {
	def := crony.Definition{Job: *want}
	for _, use := range want.Calendars {
		if c, ok := d.content(use.Name); ok {
			def.Calendars = append(def.Calendars, c)
		}
	}
	if faults := def.Faults(); len(faults) > 0 {
		return crony.Applied{}, faults
	}
	for _, use := range want.Calendars {
		if !d.written[use.Name] && !keeps(old.def, use.Name) {
			d.written[use.Name] = true
			d.parts = append(d.parts, []clientv3.Op{clientv3.OpPut(calendars+use.Name, "", clientv3.WithIgnoreValue())})
		}
	}
	applied, part := d.define(old, want, def.Calendars)
	if len(part) > 0 {
		d.parts = append(d.parts, part)
	}
	return applied, nil
}

// content returns what a calendar will hold when the transaction is done, and whether there is one.
func (d *defining) content(name string) (crony.Calendar, bool) {
	if c, ok := d.contents[name]; ok {
		return c, true
	}
	c, _ := d.store.mirror.calendar(name)
	if c.rev == 0 {
		return crony.Calendar{}, false
	}
	d.expect(calendars+name, c.rev)
	d.contents[name] = c.Calendar
	return c.Calendar, true
}

func keeps(def *crony.Definition, calendar string) bool {
	return def != nil && slices.ContainsFunc(def.Job.Calendars, func(u crony.CalendarUse) bool { return u.Name == calendar })
}

// redefine defines the jobs anew that are not in the manifest and keep a calendar that changes. Few of their faults are
// told: they are the calendar's, and all alike.
func (d *defining) redefine() {
	for _, name := range slices.Sorted(maps.Keys(d.keepers)) {
		j := d.look(name)
		if j.rev == 0 {
			continue // deleted while this was computed
		}
		_, faults := d.job(j, &j.def.Job)
		for _, f := range faults {
			f.Path = fmt.Sprintf("calendars[%d]", d.given[d.keepers[name]])
			f.Message = fmt.Sprintf("the job %s keeps it: %s", name, f.Message)
			d.faults = append(d.faults, f)
		}
		if len(d.faults) >= crony.MaxFaults {
			return
		}
	}
}

// refused says an error of the store's in the words of what was defined.
func (d *defining) refused(err error) error {
	if crony.CodeOf(err) != crony.TooLarge || len(d.keepers) == 0 {
		return err
	}
	return &crony.Error{Code: crony.TooLarge, Err: err,
		Message: fmt.Sprintf("%s a calendar that changes, beside the manifest's: too many to change at once",
			jobsKeep(len(d.keepers))),
		Hint: "leave the calendar as it is, define its successor under another name, and have the jobs keep that, some at a time"}
}
