//go:build linux

package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func journalAt(t testing.TB, path string) (*journal, *logText) {
	t.Helper()
	var text logText
	j, err := openJournal(path, text.logger())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.close() })
	return j, &text
}

func reopened(t testing.TB, j *journal) (*journal, *logText) {
	t.Helper()
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	return journalAt(t, j.path)
}

// shown is all that a journal knows.
func shown(j *journal) map[crony.RunID][]string {
	all := map[crony.RunID][]string{}
	for _, r := range j.records() {
		for _, f := range r.facts {
			all[f.Run] = append(all[f.Run], fmt.Sprintf("%d %v %v %v %v %v %v", f.Seq, f.At, f.Claimed != nil, f.Started, f.Ended, r.terms, r.birth))
		}
	}
	return all
}

func claimed(id crony.RunID) entry {
	return entry{Fact: &crony.Fact{Run: id, At: noon, Claimed: &crony.ClaimedFact{Job: "job", Agent: "a1"}}, Terms: &terms{Limit: 1, Timeout: 2, Grace: 3}}
}

func started(id crony.RunID) entry {
	return entry{Fact: &crony.Fact{Run: id, At: noon, Started: &crony.StartedFact{Attempt: 1, PID: 9}}, Birth: &birth{Boot: "b", Ticks: 5}}
}

func runAt(n int) crony.RunID {
	return crony.OccurrenceRunID("uid", noon.Add(time.Duration(n)*time.Second), "")
}

func mustAdd(t testing.TB, j *journal, entries ...entry) {
	t.Helper()
	for _, e := range entries {
		if _, err := j.add(e); err != nil {
			t.Fatal(err)
		}
	}
}

func mustKeep(t testing.TB, j *journal, entries ...entry) {
	t.Helper()
	for _, e := range entries {
		if _, err := j.keep(e); err != nil {
			t.Fatal(err)
		}
	}
}

// TestJournalTorn cuts the file at every byte, and opens what is left: every whole entry is there, and new ones can be added.
func TestJournalTorn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := journalAt(t, filepath.Join(dir, "whole"))
	var ends []int64
	var states []map[crony.RunID][]string
	note := func() {
		ends, states = append(ends, j.size), append(states, shown(j))
	}
	note()
	for _, e := range []entry{claimed(runAt(1)), claimed(runAt(2)), started(runAt(1)), {Settled: runAt(2)}} {
		mustKeep(t, j, e)
		note()
	}
	whole, err := os.ReadFile(j.path)
	if err != nil || int64(len(whole)) != j.size {
		t.Fatalf("%d bytes of %d, %v", len(whole), j.size, err)
	}
	at := 0
	for n := range len(whole) + 1 {
		for at+1 < len(ends) && ends[at+1] <= int64(n) {
			at++
		}
		path := filepath.Join(dir, "cut")
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		cut, text := journalAt(t, path)
		if diff := cmp.Diff(states[at], shown(cut)); diff != "" {
			t.Fatalf("cut at %d:\n%s", n, diff)
		}
		if torn := int64(n) != ends[at]; torn != bytes.Contains([]byte(text.String()), []byte("journal cut at a torn entry")) {
			t.Fatalf("cut at %d: torn is %t, and the log %q", n, torn, text.String())
		}
		mustAdd(t, cut, claimed(runAt(3)))
		want := shown(cut)
		again, text := reopened(t, cut)
		if diff := cmp.Diff(want, shown(again)); diff != "" || text.String() != "" {
			t.Fatalf("cut at %d, then added to:\n%s%s", n, diff, text)
		}
		again.close()
	}
}

// TestJournalDamage flips each byte of an entry in turn, and tears the file's end besides: what comes before the damage and
// after it stands, nothing is made up, the log tells, and the damaged file is there for whoever wants to look.
func TestJournalDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, _ := journalAt(t, filepath.Join(dir, "whole"))
	mustAdd(t, j, claimed(runAt(1)))
	first := j.size
	mustAdd(t, j, claimed(runAt(2)))
	second := j.size
	mustAdd(t, j, claimed(runAt(3)))
	want := shown(j)
	delete(want, runAt(2))
	whole, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	for n := first; n < second; n++ {
		bad := bytes.Clone(whole)
		bad[n] ^= 0x10
		bad = append(bad, whole[:n-first]...)
		path := filepath.Join(dir, "bad")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		got, text := journalAt(t, path)
		if diff := cmp.Diff(want, shown(got)); diff != "" || !strings.Contains(text.String(), "damaged journal set aside") {
			t.Fatalf("byte %d is wrong: %s, log %q", n, diff, text)
		}
		if aside, err := os.ReadFile(path + damagedSuffix); err != nil || !bytes.HasPrefix(bad, aside) || int64(len(aside)) <= second {
			t.Fatalf("byte %d is wrong: %d bytes set aside, %v", n, len(aside), err)
		}
		mustAdd(t, got, claimed(runAt(4)))
		again, text := reopened(t, got)
		if again.count() != 3 || again.damaged || text.String() != "" {
			t.Fatalf("byte %d is wrong, opened again: %d runs, %s", n, again.count(), text)
		}
		again.close()
	}
}

// TestJournalDamageStays can't put the damaged file aside: it goes on in it, time after time.
func TestJournalDamageStays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j, _ := journalAt(t, path)
	mustAdd(t, j, claimed(runAt(1)), claimed(runAt(2)))
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[frameHead+9] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		j, text := journalAt(t, path)
		if j.count() != 1+n || !j.knows(runAt(2)) || !strings.Contains(text.String(), "not set aside") {
			t.Fatalf("life %d: %d runs, %s", n, j.count(), text)
		}
		mustAdd(t, j, claimed(runAt(10+n)))
		j.close()
	}
}

// TestJournalLostClaim loses a run's first entry: what is known of it is kept, under terms that keep its output.
func TestJournalLostClaim(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "journal")
	j, _ := journalAt(t, path)
	mustAdd(t, j, claimed(runAt(1)), started(runAt(1)))
	j.close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[frameHead+9] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	j, _ = journalAt(t, path)
	r := j.records()[0]
	if len(r.facts) != 1 || r.facts[0].Seq != 2 || r.terms.Limit != int64(crony.DefaultOutputLimit) || r.origin() != nil {
		t.Errorf("%+v", r)
	}
	mustKeep(t, j, entry{Fact: &crony.Fact{Run: runAt(1), At: noon, Ended: &crony.EndedFact{State: crony.Lost}}})
	if last := j.records()[0].last(); last.Seq != 3 {
		t.Errorf("the next fact has number %d", last.Seq)
	}
}

func TestJournalOtherVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	data := []byte(`{"fact":"of another kind"}`)
	head := []byte{byte(len(data)), 0, 0, 0, 0, 0, 0, 0}
	sum := checksum(data)
	for i := range 4 {
		head[4+i] = byte(sum >> (8 * i))
	}
	if err := os.WriteFile(path, append(head, data...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openJournal(path, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an entry that can't be understood was thrown away")
	}
}

// TestJournalCompacts settles most of many runs: the file stays small, and holds the rest.
func TestJournalCompacts(t *testing.T) {
	t.Parallel()
	j, _ := journalAt(t, filepath.Join(t.TempDir(), "journal"))
	rng := rand.New(rand.NewPCG(5, 6))
	var open []crony.RunID
	most := int64(0)
	for n := range 9_000 {
		mustKeep(t, j, claimed(runAt(n)), started(runAt(n)))
		open = append(open, runAt(n))
		for len(open) > 50 {
			i := rng.IntN(len(open))
			mustKeep(t, j, entry{Settled: open[i]})
			open = append(open[:i], open[i+1:]...)
		}
		most = max(most, j.size)
	}
	if most > 3*compactFrom {
		t.Errorf("the file grew to %d bytes", most)
	}
	want := shown(j)
	again, text := reopened(t, j)
	if diff := cmp.Diff(want, shown(again)); diff != "" || len(want) != 50 || text.String() != "" {
		t.Errorf("%d runs after it was written anew:\n%s%s", len(want), diff, text)
	}
}

// TestJournalRemembers asks for the newest settled run of each origin: at once, by the next life, and when the file was written
// anew in between.
func TestJournalRemembers(t *testing.T) {
	t.Parallel()
	j, _ := journalAt(t, filepath.Join(t.TempDir(), "journal"))
	of := func(n int, job string, trigger crony.Trigger) entry {
		return entry{Fact: &crony.Fact{Run: runAt(n), At: noon, Claimed: &crony.ClaimedFact{Job: job, Trigger: trigger}}}
	}
	mustKeep(t, j, of(1, "a", crony.BySchedule), of(2, "a", crony.ByHand), of(3, "b", crony.BySchedule), of(4, "a", crony.BySchedule))
	mustKeep(t, j, entry{Settled: runAt(4)}, entry{Settled: runAt(1)}, entry{Settled: runAt(2)})
	check := func(when string, j *journal) {
		t.Helper()
		for _, c := range []struct {
			run     int
			job     string
			trigger crony.Trigger
			want    bool
		}{
			{4, "a", crony.BySchedule, true},
			{1, "a", crony.BySchedule, false}, // an older one
			{2, "a", crony.ByHand, true},
			{2, "a", crony.BySchedule, false},
			{3, "b", crony.BySchedule, true}, // not settled
			{9, "c", crony.BySchedule, false},
		} {
			if got := j.knew(runAt(c.run), origin{c.job, c.trigger}); got != c.want {
				t.Errorf("%s: run %d of %s %s: %t", when, c.run, c.job, c.trigger, got)
			}
		}
	}
	check("at once", j)
	j, _ = reopened(t, j)
	check("by the next life", j)
	if err := j.rewrite(); err != nil {
		t.Fatal(err)
	}
	check("written anew", j)
	j, _ = reopened(t, j)
	check("by the next life after that", j)

	has := func(job string) bool { return job == "b" }
	j.forget(has, noon)
	check("before its time to be forgotten", j)
	j.forget(has, noon.Add(time.Hour))
	if j.knew(runAt(4), origin{"a", crony.BySchedule}) || !j.knew(runAt(3), origin{"b", crony.BySchedule}) {
		t.Error("what is forgotten is not what was asked for")
	}
}

// TestJournalCantCompact has no place for the new file: the old one goes on, and it is not tried for every entry.
func TestJournalCantCompact(t *testing.T) {
	t.Parallel()
	j, text := journalAt(t, filepath.Join(t.TempDir(), "journal"))
	if err := os.Mkdir(j.path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range 8_000 {
		mustKeep(t, j, claimed(runAt(n)), entry{Settled: runAt(n)})
	}
	mustKeep(t, j, claimed(runAt(-1)))
	if tries := bytes.Count([]byte(text.String()), []byte("not written anew")); tries < 1 || int64(tries) > j.size/compactFrom {
		t.Errorf("tried %d times for %d bytes", tries, j.size)
	}
	if again, _ := reopened(t, j); again.count() != 1 {
		t.Errorf("%d runs are left, want 1", again.count())
	}
}

// smallDisk is a file on a disk with so much room.
type smallDisk struct {
	*os.File
	room  int64
	stuck bool // it can't be cut either
}

func (d *smallDisk) WriteAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), max(d.room-off, 0))
	wrote, err := d.File.WriteAt(p[:n], off)
	if err == nil && wrote < len(p) {
		err = syscall.ENOSPC
	}
	return wrote, err
}

func (d *smallDisk) Truncate(size int64) error {
	if d.stuck {
		return syscall.EIO
	}
	return d.File.Truncate(size)
}

// TestJournalDiskFull runs out of room at every byte. What was refused is not there; what has happened is, in its order, as
// soon as there is room.
func TestJournalDiskFull(t *testing.T) {
	t.Parallel()
	for room := range int64(700) {
		j, _ := journalAt(t, filepath.Join(t.TempDir(), "journal"))
		disk := &smallDisk{File: j.file.(*os.File), room: room, stuck: room%2 == 0}
		j.file = disk
		a, b := runAt(1), runAt(2)
		_, errA := j.add(claimed(a))
		if errA == nil {
			if _, err := j.keep(started(a)); err != nil && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
		}
		_, errB := j.add(claimed(b))
		if errB != nil && j.knows(b) {
			t.Fatalf("room %d: refused, and known", room)
		}
		if full := j.flush() != nil; full && errB == nil {
			t.Fatalf("room %d: a claim was written before what is late", room)
		}
		disk.room, disk.stuck = 1<<20, false
		if err := j.flush(); err != nil {
			t.Fatalf("room again after %d: %v", room, err)
		}
		mustAdd(t, j, claimed(runAt(3)))
		want := shown(j)
		if (errA == nil) != (len(want[a]) == 2) || (errB == nil) != (len(want[b]) == 1) {
			t.Fatalf("room %d: %v, %v, but %v", room, errA, errB, want)
		}
		again, text := reopened(t, j)
		if diff := cmp.Diff(want, shown(again)); diff != "" || text.String() != "" {
			t.Fatalf("room %d, opened again:\n%s%s", room, diff, text)
		}
		again.close()
	}
}

// TestJournalOnFullDisk does the same on a real file system.
func TestJournalOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("a small file system needs root: ", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	j, _ := journalAt(t, filepath.Join(dir, "journal"))
	mustAdd(t, j, claimed(runAt(0)))
	var err error
	n := 1
	for ; err == nil; n++ {
		_, err = j.add(claimed(runAt(n)))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if _, err := j.keep(started(runAt(0))); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	for i := 1; i < n-1; i++ {
		j.keep(entry{Settled: runAt(i)})
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=1m"); err != nil {
		t.Fatal(err)
	}
	if err := j.flush(); err != nil {
		t.Fatal(err)
	}
	want := shown(j)
	again, _ := reopened(t, j)
	if diff := cmp.Diff(want, shown(again)); diff != "" || len(want) != 1 || len(want[runAt(0)]) != 2 {
		t.Errorf("%v\n%s", want, diff)
	}
	again.close()
}

// TestJournalReserve has others fill the disk: entries go on into the room that is kept. When that is used up too, the runs that
// are settled make room for others, again and again.
func TestJournalReserve(t *testing.T) {
	dir := smallFS(t, "size=8m")
	j, _ := journalAt(t, filepath.Join(dir, "journal"))
	mustAdd(t, j, claimed(runAt(0)))
	j.reserve(1 << 30)
	fill(t, dir)
	const room = 8 << 20 / reservePart
	n := 1
	for ; ; n++ {
		if _, err := j.add(claimed(runAt(n))); diskFull(err) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if j.size < room || j.size > 2*room {
		t.Errorf("%d bytes went into a room of %d", j.size, room)
	}
	for i := range n - 10 {
		if _, err := j.keep(entry{Settled: runAt(i)}); err != nil && !diskFull(err) {
			t.Fatal(err)
		}
	}
	for i := n; i < 50*n; i++ {
		mustAdd(t, j, claimed(runAt(i)))
		mustKeep(t, j, started(runAt(i)), entry{Settled: runAt(i)})
	}
	want := shown(j)
	again, text := reopened(t, j)
	if diff := cmp.Diff(want, shown(again)); diff != "" || len(want) != 10 || text.String() != "" {
		t.Errorf("%d runs\n%s%s", len(want), diff, text)
	}
}

// fillJournal adds entries for ever, and says on stdout how far it has come. It compacts often.
func fillJournal(path string) error {
	j, err := openJournal(path, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		j.compact = 0
		for _, e := range []entry{claimed(runAt(n)), started(runAt(n))} {
			if _, err := j.keep(e); err != nil {
				return err
			}
		}
		fmt.Println(n)
		if n < 3 {
			continue
		}
		if _, err := j.keep(entry{Settled: runAt(n - 3)}); err != nil {
			return err
		}
	}
}

// TestJournalKilled kills a process again and again while it writes its journal: what it said to be written is there.
func TestJournalKilled(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 8))
	for range 12 {
		path := filepath.Join(t.TempDir(), "journal")
		out, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := startChild(t, in, "journal", path)
		in.Close()
		lines := readLines(out, 20+rng.IntN(400))
		cmd.Process.Kill()
		rest, _ := io.ReadAll(out)
		cmd.Wait()
		out.Close()
		last := lines + bytes.Count(rest, []byte("\n")) - 1
		j, text := journalAt(t, path)
		if n := j.count(); n < 3 || n > 5 {
			t.Errorf("%d runs after the kill", n)
		}
		if log := text.String(); log != "" && !strings.Contains(log, "torn: cut short") { // a kill may cut a write at a page's end
			t.Errorf("log %q", log)
		}
		for n := last - 2; n <= last; n++ {
			if !j.knows(runAt(n)) {
				t.Errorf("run %d of %d was written and is lost", n, last)
			}
		}
	}
}

func readLines(r io.Reader, n int) int {
	b := make([]byte, 1)
	for lines := 0; ; {
		if _, err := r.Read(b); err != nil || lines == n {
			return lines
		}
		if b[0] == '\n' {
			lines++
		}
	}
}

// TestJournalHalfWritten has a disk that takes half of an entry, and can't cut it off again: a shorter entry that is written
// later ends the file all the same.
func TestJournalHalfWritten(t *testing.T) {
	j, _ := journalAt(t, filepath.Join(t.TempDir(), "journal"))
	mustAdd(t, j, claimed(runAt(1)), claimed(runAt(2)))
	disk := &smallDisk{File: j.file.(*os.File), room: j.size + 200, stuck: true}
	j.file = disk
	if _, err := j.add(claimed(runAt(3))); err == nil {
		t.Fatal("there was room")
	}
	disk.room, disk.stuck = 1<<20, false
	mustKeep(t, j, entry{Settled: runAt(1)})
	if again, text := reopened(t, j); again.count() != 1 || text.String() != "" {
		t.Errorf("%d runs; %s", again.count(), text)
	}
}
