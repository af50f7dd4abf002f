package state

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// How presets, which are calendars and scripts, and the definitions that hold their contents stay the same, whoever writes at
// once:
//
//   - who defines a job expects the revision of each preset that it names, so that the contents are those of now;
//   - who changes a preset defines each job that names it anew in the same transaction, and so expects the revision of each of
//     their definitions;
//   - a job that begins to name a preset gives the preset's key a new revision, so that whoever changes or deletes the preset
//     at the same time, and has not seen the job, has to look again.

// preset is what is stored of a calendar or a script: of the two, one is set.
type preset struct {
	Calendar  *crony.Calendar `json:"calendar,omitempty"`
	Script    *crony.Script   `json:"script,omitempty"`
	UpdatedAt time.Time       `json:"updated_at"`
	UpdatedBy string          `json:"updated_by,omitempty"`

	rev int64 // of its key; 0: there is none
}

// sameAs says whether two presets hold the same.
func (p *preset) sameAs(other *preset) bool {
	return sameJSON(p.Calendar, other.Calendar) && sameJSON(p.Script, other.Script)
}

// kindOf says of which kind the preset of a key is.
func kindOf(key string) crony.Kind {
	if strings.HasPrefix(key, scripts) {
		return crony.KindScript
	}
	return crony.KindCalendar
}

// nameOf returns the name of the preset of a key.
func nameOf(key string) string {
	_, name := split(key)
	return name
}

// presetsOf yields the keys of what a job names.
func presetsOf(j *crony.Job) []string {
	keys := make([]string, 0, len(j.Calendars)+len(j.Scripts))
	for _, use := range j.Calendars {
		keys = append(keys, calendars+use.Name)
	}
	for _, name := range j.Scripts {
		keys = append(keys, scripts+name)
	}
	return keys
}

func names(def *crony.Definition, key string) bool {
	return def != nil && slices.Contains(presetsOf(&def.Job), key)
}

// copies is what a definition holds of presets.
type copies struct {
	calendars []crony.Calendar
	scripts   []crony.Script
}

func copiesOf(def *crony.Definition) copies { return copies{def.Calendars, def.Scripts} }

func (c *copies) add(p *preset) {
	if p.Calendar != nil {
		c.calendars = append(c.calendars, *p.Calendar)
	}
	if p.Script != nil {
		c.scripts = append(c.scripts, *p.Script)
	}
}

// listPresets returns what there is of a kind, by name, each by a function of the preset and the sorted names of its jobs.
func listPresets[T any](m *mirror, prefix string, status func(p preset, keepers []string) T) []T {
	m.mu.RLock()
	keys := slices.Collect(maps.Keys(m.presets))
	m.mu.RUnlock()
	keys = slices.DeleteFunc(keys, func(key string) bool { return !strings.HasPrefix(key, prefix) })
	slices.Sort(keys)
	list := make([]T, 0, len(keys))
	for _, key := range keys {
		if p, keepers := m.preset(key); p.rev != 0 {
			list = append(list, status(p, keepers))
		}
	}
	return list
}

// removal is the change that removes a preset that no job names.
func (t *txn) removal(key string) (*txn, error) {
	p, keepers := t.store.mirror.preset(key)
	kind := kindOf(key)
	switch {
	case p.rev == 0:
		return nil, noPreset(key)
	case len(keepers) > 0:
		return nil, crony.Errorf(crony.Conflict, "%s the %s %s: %s",
			jobsThat(len(keepers), verb(kind)), kind, nameOf(key), some(keepers)).
			WithHint("take it out of their `%ss:` first", kind)
	}
	t.expect(key, p.rev)
	t.remove(key)
	return t, nil
}

func noPreset(key string) error {
	return crony.Errorf(crony.NotFound, "there is no %s %.80q", kindOf(key), nameOf(key)).
		WithHint("`crony %s list` shows the %[1]ss", kindOf(key))
}

// verb is what jobs do with presets of a kind.
func verb(kind crony.Kind) string {
	if kind == crony.KindCalendar {
		return "keep"
	}
	return "name"
}

func jobsThat(n int, verb string) string {
	if n == 1 {
		return "1 job " + verb + "s"
	}
	return fmt.Sprintf("%d jobs %s", n, verb)
}

// some lists the first five names.
func some(names []string) string {
	const most = 5
	if more := len(names) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), more)
	}
	return strings.Join(names, ", ")
}

// preset returns the preset of a key, its rev 0 if there is none, and the sorted names of the jobs that name it: both as of
// one revision.
func (m *mirror) preset(key string) (preset, []string) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	keepers := make([]string, 0, len(m.jobs.keepers[key]))
	for job := range m.jobs.keepers[key] {
		keepers = append(keepers, job)
	}
	slices.Sort(keepers)
	return m.presets[key], keepers
}

// putPreset takes a preset in. A new revision of the same contents leaves the contents where they are; see [mirror.share].
func (m *mirror) putPreset(key string, value []byte, rev int64) error {
	p, err := decode[preset](value)
	if err != nil {
		return err
	}
	if kind := kindOf(key); (p.Calendar == nil) != (kind != crony.KindCalendar) || (p.Script == nil) != (kind != crony.KindScript) {
		return fmt.Errorf("it is no %s", kind)
	}
	if old, ok := m.presets[key]; ok && reflect.DeepEqual(old.Calendar, p.Calendar) && reflect.DeepEqual(old.Script, p.Script) {
		p.Calendar, p.Script = old.Calendar, old.Script
	}
	p.rev = rev
	m.presets[key] = p
	return nil
}

// share lets a definition have the contents of its presets in common with all others that name them: a hundred thousand jobs
// may keep one calendar.
func (m *mirror) share(def *crony.Definition) {
	for i := range def.Calendars {
		if c := m.presets[calendars+def.Calendars[i].Name].Calendar; c != nil && reflect.DeepEqual(*c, def.Calendars[i]) {
			def.Calendars[i] = *c
		}
	}
	for i := range def.Scripts {
		if s := m.presets[scripts+def.Scripts[i].Name].Script; s != nil && *s == def.Scripts[i] {
			def.Scripts[i] = *s
		}
	}
}

// keep enters a job among those that name its presets, or with by -1 takes it out.
func (x *index) keep(j *job, by int) {
	for _, key := range presetsOf(&j.def.Job) {
		among(x.keepers, key, j.name, by > 0)
	}
}

// defining is one attempt to define all that a manifest holds.
type defining struct {
	*txn
	given    map[string]int    // place in the manifest of its presets, by key
	contents map[string]preset // that were looked up, as they will be
	written  map[string]bool   // keys of presets that this transaction writes
	keepers  map[string]string // of presets that change: job to the key of the first of them, for those not in the manifest
	parts    [][]clientv3.Op   // that are written together
	applied  []crony.Applied
	faults   []crony.Fault
}

func newDefining(t *txn) *defining {
	return &defining{txn: t, given: map[string]int{}, contents: map[string]preset{}, written: map[string]bool{},
		keepers: map[string]string{}}
}

// manifest adds all that m defines to the transaction.
func (d *defining) manifest(m *crony.Manifest, opts crony.ApplyOptions) error {
	for i := range m.Calendars {
		d.preset(i, calendars+m.Calendars[i].Name, preset{Calendar: &m.Calendars[i]})
	}
	for i := range m.Scripts {
		d.preset(i, scripts+m.Scripts[i].Name, preset{Script: &m.Scripts[i]})
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
		return &crony.Error{Code: crony.Invalid, Message: "jobs can't have what they name", Faults: d.faults}
	}
	d.ops = nest(d.parts)
	if len(d.ops) > maxOps || len(d.conditions) > maxOps {
		return crony.Errorf(crony.TooLarge, "%d definitions would change at once, with the assignments of their jobs: too many",
			len(d.parts)).WithHint("split the manifest")
	}
	return nil
}

// preset defines one preset, the i-th of its kind in the manifest, and notes the jobs that change with it.
func (d *defining) preset(i int, key string, want preset) {
	old, keepers := d.store.mirror.preset(key)
	d.given[key] = i
	done := crony.Applied{Kind: kindOf(key), Name: nameOf(key), Action: crony.Updated}
	switch {
	case old.rev == 0:
		done.Action = crony.Created
	case old.sameAs(&want):
		d.loose = true
		done.Action = crony.Unchanged
	}
	d.applied = append(d.applied, done)
	if done.Action == crony.Unchanged {
		return
	}
	d.expect(key, old.rev)
	want.UpdatedAt, want.UpdatedBy = later(d.now, old.UpdatedAt), d.actor
	d.written[key], d.contents[key] = true, want
	d.parts = append(d.parts, []clientv3.Op{clientv3.OpPut(key, encode(want))})
	for _, job := range keepers {
		if d.keepers[job] == "" {
			d.keepers[job] = key
		}
	}
}

// job defines one job with the presets that it names, in place of old. The faults' paths are the job's.
func (d *defining) job(old job, want *crony.Job) (crony.Applied, []crony.Fault) {
	var held copies
	for _, key := range presetsOf(want) {
		if p, ok := d.content(key); ok {
			held.add(&p)
		}
	}
	def := crony.Definition{Job: *want, Calendars: held.calendars, Scripts: held.scripts}
	if faults := def.Faults(); len(faults) > 0 {
		return crony.Applied{}, faults
	}
	for _, key := range presetsOf(want) {
		if !d.written[key] && !names(old.def, key) {
			d.written[key] = true
			d.parts = append(d.parts, []clientv3.Op{clientv3.OpPut(key, "", clientv3.WithIgnoreValue())})
		}
	}
	applied, part := d.define(old, want, held)
	if len(part) > 0 {
		d.parts = append(d.parts, part)
	}
	return applied, nil
}

// content returns what the preset of a key will hold when the transaction is done, and whether there is one.
func (d *defining) content(key string) (preset, bool) {
	if p, ok := d.contents[key]; ok {
		return p, true
	}
	p, _ := d.store.mirror.preset(key)
	if p.rev == 0 {
		return preset{}, false
	}
	d.expect(key, p.rev)
	d.contents[key] = p
	return p, true
}

// redefine defines the jobs anew that are not in the manifest and name a preset that changes. Few of their faults are told:
// they are the preset's, and all alike.
func (d *defining) redefine() {
	for _, name := range slices.Sorted(maps.Keys(d.keepers)) {
		j := d.look(name)
		if j.rev == 0 {
			continue // deleted while this was computed
		}
		_, faults := d.job(j, &j.def.Job)
		key := d.keepers[name]
		for _, f := range faults {
			f.Path = fmt.Sprintf("%ss[%d]", kindOf(key), d.given[key])
			f.Message = fmt.Sprintf("the job %s %ss it: %s", name, verb(kindOf(key)), f.Message)
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
	of := map[crony.Kind]int{}
	for _, key := range d.keepers {
		of[kindOf(key)]++
	}
	kind := crony.KindCalendar
	if of[crony.KindScript] > of[kind] {
		kind = crony.KindScript
	}
	return &crony.Error{Code: crony.TooLarge, Err: err,
		Message: fmt.Sprintf("%s a %s that changes, beside the manifest's: too many to change at once",
			jobsThat(of[kind], verb(kind)), kind),
		Hint: fmt.Sprintf("leave the %s as it is, define its successor under another name, and have the jobs %s that, some at a time",
			kind, verb(kind))}
}
