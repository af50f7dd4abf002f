package runlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"crony"
	"crony/internal/durable"
)

// bounds say what a log no longer holds. They only ever grow, and are never changed but replaced: after the writer has
// replaced them, it lets nothing in that they leave out.
type bounds struct {
	floor dayNumber         // days before it are gone; 0 if none are
	marks map[string]runKey // by job: its runs before this one are gone
}

// admits says whether a run of a job may be there.
func (b *bounds) admits(job string, k runKey) bool {
	mark, ok := b.marks[job]
	return !ok || bytes.Compare(k[:], mark[:]) >= 0
}

// boundsFile keeps the bounds in the log's directory: a line with the CRC-32C of what follows it, and [boundsForm] as JSON.
const boundsFile = "bounds"

type boundsForm struct {
	Format int                    `json:"format"` // 1
	Floor  string                 `json:"floor,omitempty"`
	Marks  map[string]crony.RunID `json:"marks,omitempty"`
}

func (b *bounds) bytes() ([]byte, error) {
	form := boundsForm{Format: 1, Marks: make(map[string]crony.RunID, len(b.marks))}
	if b.floor > 0 {
		form.Floor = b.floor.String()
	}
	for job, k := range b.marks {
		form.Marks[job] = k.id()
	}
	body, err := json.Marshal(form)
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, "%08x\n", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))), body...), nil
}

func parseBounds(data []byte) (*bounds, error) {
	line, body, _ := bytes.Cut(data, []byte("\n"))
	if string(line) != fmt.Sprintf("%08x", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))) {
		return nil, &damage{what: "its checksum does not fit"}
	}
	var form boundsForm
	if err := json.Unmarshal(body, &form); err != nil {
		return nil, &damage{what: err.Error(), err: err}
	}
	if form.Format != 1 {
		return nil, &damage{what: fmt.Sprintf("it has format %d, and this crony knows none above 1", form.Format)}
	}
	b := &bounds{marks: make(map[string]runKey, len(form.Marks))}
	if form.Floor != "" {
		day, err := parseDay(form.Floor)
		if err != nil {
			return nil, &damage{what: err.Error(), err: err}
		}
		b.floor = day
	}
	for job, id := range form.Marks {
		k, err := parseID(id)
		if err != nil {
			return nil, &damage{what: err.Error(), err: err}
		}
		b.marks[job] = k
	}
	return b, nil
}

// readBounds reads the bounds at opening. A file that is damaged is set aside: without it more is kept than should be, until
// the bounds grow again.
func (l *Log) readBounds() error {
	path := filepath.Join(l.days.dir, boundsFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		l.bounds.Store(&bounds{})
		return nil
	}
	var b *bounds
	if err == nil {
		b, err = parseBounds(data)
	}
	if err == nil {
		l.bounds.Store(b)
		return nil
	}
	aside := path + damagedMark + time.Now().UTC().Format(asideTime)
	l.log.Error("the file with the run log's bounds can't be used and is set aside: more is kept until they are drawn again",
		"path", aside, "found", err.Error())
	l.bounds.Store(&bounds{})
	return os.Rename(path, aside)
}

// setBounds replaces the bounds. Only the writer calls it.
func (l *Log) setBounds(b *bounds) error {
	data, err := b.bytes()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(l.days.dir, boundsFile), data, 0o600); err != nil {
		return err
	}
	l.bounds.Store(b)
	return nil
}

// Floor returns the first day that the log may hold something of, as 2026-11-21; "" if no day was dropped yet.
func (l *Log) Floor() string {
	if floor := l.bounds.Load().floor; floor > 0 {
		return floor.String()
	}
	return ""
}

// RaiseFloor drops the days before one, with all that was set aside of them. What is appended of them from then on is left
// out without a word. A floor that is not higher than the present one changes nothing. Invalid if day is none, or later than
// tomorrow: one server with a wrong clock must not cost all the others what they have.
func (l *Log) RaiseFloor(day string) error {
	floor, err := parseDay(day)
	if err != nil || floor.String() != day {
		return crony.Errorf(crony.Invalid, "%.40q is no day", day)
	}
	if tomorrow := dayOf(l.now()) + 1; floor > tomorrow {
		return crony.Errorf(crony.Invalid, "the run log can't be dropped up to %s: by this server's clock that is to come", day).
			WithHint("look at the servers' clocks")
	}
	if floor <= l.bounds.Load().floor {
		return nil
	}
	err = l.exclusively(context.Background(), func(*writer) error {
		now := l.bounds.Load()
		if floor <= now.floor {
			return nil
		}
		if err := l.setBounds(&bounds{floor: floor, marks: now.marks}); err != nil {
			return err
		}
		return l.dropDays()
	})
	if err != nil {
		return fmt.Errorf("raise the run log's floor to %s: %w", day, err)
	}
	return nil
}

// dropDays removes what is below the floor. Only the writer calls it, or who is alone.
func (l *Log) dropDays() error {
	floor := l.bounds.Load().floor
	if floor == 0 {
		return nil
	}
	l.mem.forgetDays(func(day dayNumber) bool { return day < floor })
	dropped, err := l.days.drop(floor)
	if len(dropped) > 0 {
		l.log.Info("days dropped from the run log", "days", len(dropped), "from", dropped[0], "to", dropped[len(dropped)-1])
	}
	l.setAside.dropBefore(floor.String())
	return err
}

// Marks returns, by job, the first run that the log may hold: what was before it is gone. The map is the caller's.
func (l *Log) Marks() map[string]crony.RunID {
	b := l.bounds.Load()
	marks := make(map[string]crony.RunID, len(b.marks))
	for job, k := range b.marks {
		marks[job] = k.id()
	}
	return marks
}

// RaiseMarks has the log let go of jobs' runs that are before the given ones, with their output, soon and bit by bit; what is
// appended of them from now on is left out without a word. A mark that is not higher than the present one changes nothing, so
// servers that give each other their marks come to have the same. Jobs go by their names: a job that was deleted and made
// again goes on with its history. Invalid if a run's id is none, or later than tomorrow.
func (l *Log) RaiseMarks(marks map[string]crony.RunID) error {
	raised := make(map[string]runKey, len(marks))
	for job, id := range marks {
		k, err := parseID(id)
		if err != nil {
			return err
		}
		if k.day() > dayOf(l.now())+1 {
			return crony.Errorf(crony.Invalid, "the runs of the job %.80s can't be dropped up to %s: by this server's clock that is "+
				"to come", job, id).WithHint("look at the servers' clocks")
		}
		raised[job] = k
	}
	if !l.bounds.Load().below(raised) {
		return nil
	}
	err := l.exclusively(context.Background(), func(*writer) error {
		now := l.bounds.Load()
		next := &bounds{floor: now.floor, marks: maps.Clone(now.marks)}
		if next.marks == nil {
			next.marks = map[string]runKey{}
		}
		for job, k := range raised {
			if mark := next.marks[job]; bytes.Compare(k[:], mark[:]) > 0 {
				next.marks[job] = k
			}
		}
		return l.setBounds(next)
	})
	if err != nil {
		return fmt.Errorf("raise the run log's marks: %w", err)
	}
	signal(l.raised)
	return nil
}

// below says whether a mark is below one of the others.
func (b *bounds) below(others map[string]runKey) bool {
	for job, k := range others {
		if mark := b.marks[job]; bytes.Compare(k[:], mark[:]) > 0 {
			return true
		}
	}
	return false
}

// admit returns parts without what is out of bounds.
func (b *bounds) admit(parts []*part) []*part {
	kept := parts[:0]
	for _, p := range parts {
		if p.day >= b.floor && b.admitPart(p) {
			kept = append(kept, p)
		}
	}
	return kept
}

// admitPart takes runs from a part whose claim is in it and says that they are out of bounds, and reports whether something
// is left. Other records do not say whose they are: of a run that is there they are dropped with it, of one that is not
// there they stay, unseen, until the day is dropped.
func (b *bounds) admitPart(p *part) bool {
	if len(b.marks) == 0 {
		return true
	}
	var gone map[runKey]bool
	for _, f := range p.facts {
		if c := f.rec.fact.Claimed; c != nil && !b.admits(c.Job, f.rec.run) {
			if gone == nil {
				gone = map[runKey]bool{}
			}
			gone[f.rec.run] = true
		}
	}
	if gone == nil {
		return true
	}
	p.facts = slices.DeleteFunc(p.facts, func(f of[*factRecord]) bool { return gone[f.rec.run] })
	p.chunks = slices.DeleteFunc(p.chunks, func(c of[*chunkRecord]) bool { return gone[c.rec.run] })
	return len(p.facts)+len(p.chunks)+len(p.stretches) > 0
}
