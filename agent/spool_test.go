//go:build linux

package agent

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"crony"
)

// written is what stands from one offset of a stream up to another, in tests that check what is delivered against its place.
// It has no byte 0, which is what a hole would read as.
func written(from, until int64) []byte {
	data := make([]byte, until-from)
	for i := range data {
		data[i] = byte((from+int64(i))%251) + 1
	}
	return data
}

// checkPlaces holds what was delivered of a stream against its places, and returns how many different bytes there are.
func (d *desk) checkPlaces(t testing.TB, id crony.RunID) (distinct int64) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	list := slices.SortedFunc(slices.Values(d.chunks[id]), func(a, b crony.Chunk) int { return cmp.Compare(a.Offset, b.Offset) })
	end := int64(0)
	for _, c := range list {
		if !bytes.Equal(c.Data, written(c.Offset, c.End())) {
			t.Fatalf("the chunk of %d bytes at %d is not what was written there", len(c.Data), c.Offset)
		}
		distinct += max(c.End()-max(end, c.Offset), 0)
		end = max(end, c.End())
	}
	return distinct
}

// onDisk returns what a file takes of the disk.
func onDisk(t testing.TB, path string) int64 {
	t.Helper()
	var info syscall.Stat_t
	if err := syscall.Stat(path, &info); err != nil {
		t.Fatal(err)
	}
	return info.Blocks * 512
}

// endedRun puts a run that has ended, with so much output, into a reporter that sends nothing by itself.
func (r *rig) endedRun(n int, size int64) crony.RunID {
	r.t.Helper()
	id := runAt(n)
	written1, err := r.journal.add(claimedBy(id))
	if err != nil {
		r.t.Fatal(err)
	}
	r.reports.fact(*written1.Fact)
	out := outputs(r.dir, id, 1, 16<<20)
	writeTo(r.t.(*testing.T), out[0].path, string(written(0, size)))
	r.reports.output(out...)
	sizes := r.reports.finish(out)
	r.runner.keep(entry{Fact: &crony.Fact{Run: id, At: noon, Started: &crony.StartedFact{Attempt: 1, PID: 9}}})
	r.runner.keep(entry{Fact: &crony.Fact{Run: id, At: noon, Exited: &crony.ExitedFact{Attempt: 1, StdoutBytes: sizes[0]}}})
	r.runner.end(id, crony.Succeeded, "")
	return id
}

// TestSpoolBound has more output wait than the spool may take: the oldest goes, the newest and all facts stay, and the runs
// say what they had written.
func TestSpoolBound(t *testing.T) {
	t.Parallel()
	const runs, each, bound = 20, 200_000, 2_000_000
	r := newRig(t, t.TempDir())
	r.reports.spool = spool{dir: r.dir, size: bound}
	var ids []crony.RunID
	for n := range runs {
		ids = append(ids, r.endedRun(n, each))
	}
	if d := r.reports.depth(); d.outputs < runs*each || d.records != runs*5 || !d.oldest.Equal(noon) {
		t.Errorf("before the bound is looked at: %+v", d)
	}
	r.reports.relieve()
	d := r.reports.depth()
	if d.outputs > bound || d.outputs < bound*7/10 || d.short || d.lost == 0 || d.lost%each != 0 {
		t.Errorf("after: %+v", d)
	}
	r.begin()
	kept := 0
	for n, id := range ids {
		got := r.ended(id)
		size := r.desk.checkPlaces(t, id)
		if got.State != crony.Succeeded || got.Attempts[0].StdoutBytes != each || size != 0 && size != each {
			t.Errorf("run %d: %d bytes of %+v", n, size, got)
		}
		if size == each {
			kept++
		} else if kept > 0 {
			t.Errorf("the output of run %d is gone, and that of an older run is not", n)
		}
	}
	if lost := int64(runs-kept) * each; lost != d.lost {
		t.Errorf("%d bytes are gone, %d were counted", lost, d.lost)
	}
	if d := r.reports.depth(); d.outputs != 0 || d.records != 0 || !d.oldest.IsZero() || r.files() != 0 {
		t.Errorf("when all is delivered: %+v, %d files", d, r.files())
	}
}

// TestSpoolDropsUnderWay drops output of which reports are under way when the stream breaks: the facts go again, and no run is
// left behind.
func TestSpoolDropsUnderWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	r.reports.spool = spool{dir: r.dir, size: 1}
	ack := r.desk.ack
	r.desk.ack = nil
	id := r.endedRun(1, 600_000)
	r.reports.begin(t.Context())
	for r.reports.sendOne() {
	}
	if len(r.reports.inflight) < 2 {
		t.Fatalf("%d reports under way", len(r.reports.inflight))
	}
	r.reports.relieve()
	*r.desk = *newDesk()
	r.desk.ack = ack
	r.begin()
	if got := r.ended(id); got.State != crony.Succeeded || r.desk.checkPlaces(t, id) != 0 || r.journal.knows(id) {
		t.Errorf("%+v", got)
	}
}

// follower is an output that a test writes, as a process that goes on.
type follower struct {
	*output
	t    testing.TB
	file *os.File
	size int64
}

func (r *rig) follower(n int, limit int64) *follower {
	r.t.Helper()
	id := runAt(n)
	claim := claimedBy(id)
	claim.Terms.Limit = limit
	mustAdd(r.t, r.journal, claim, started(id))
	out := outputs(r.dir, id, 1, limit)[:1]
	r.reports.output(out...)
	file, err := out[0].create()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { file.Close() })
	if err := out[0].markBegun(int(file.Fd())); err != nil {
		r.t.Fatal(err)
	}
	return &follower{out[0], r.t, file, 0}
}

func (f *follower) write(n int64) {
	f.t.Helper()
	if _, err := f.file.Write(written(f.size, f.size+n)); err != nil {
		f.t.Fatal(err)
	}
	f.size += n
}

// sendAll sends all that is queued, and waits until it is acknowledged.
func (r *rig) sendAll() {
	for {
		for r.reports.sendOne() {
		}
		r.desk.acks.Wait()
		r.reports.mu.Lock()
		left := len(r.reports.queue) + len(r.reports.inflight)
		r.reports.mu.Unlock()
		if left == 0 {
			return
		}
	}
}

// TestSpoolShort has a run write on while the disk is short and no server is there: the beginning is kept, the disk is given
// back, and what is written when there is room again, or at the end, is delivered in its place.
func TestSpoolShort(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	f := r.follower(1, 16<<20)
	r.reports.spool = spool{dir: r.dir, size: 1}
	r.reports.relieve()
	for range 50 {
		f.write(300_000)
		r.reports.look()
		if n := onDisk(t, f.path); n > 1<<20 {
			t.Fatalf("it takes %d bytes after %d", n, f.size)
		}
	}
	d := r.reports.depth()
	if !d.short || d.lost < 7<<20 {
		t.Errorf("%+v", d)
	}
	r.reports.spool.size = 1 << 30
	r.reports.relieve()
	if r.reports.depth().short {
		t.Error("the disk is short for ever")
	}
	f.write(500_000)
	r.reports.begin(t.Context())
	if sizes := r.reports.finish([]*output{f.output}); sizes[0] != f.size {
		t.Errorf("%d bytes, want %d", sizes[0], f.size)
	}
	r.sendAll()
	kept := r.desk.checkPlaces(t, f.run)
	if first := r.desk.chunks[f.run][0]; first.Offset != 0 || len(first.Data) < smallHead {
		t.Errorf("the beginning is %d bytes at %d", len(first.Data), first.Offset)
	}
	if kept < 500_000+smallHead || kept+r.reports.depth().lost != f.size {
		t.Errorf("of %d bytes %d are kept, and %d were given up", f.size, kept, r.reports.depth().lost)
	}
}

// TestLookAtMany has thousands of quiet outputs: each is looked at soon enough for its first bytes to be delivered within a
// second, though not in each round.
func TestLookAtMany(t *testing.T) {
	t.Parallel()
	const rounds = 3
	if rounds*outputPoll > 700*time.Millisecond {
		t.Fatal("so many rounds take too long")
	}
	r := newRig(t, t.TempDir())
	for n := range few {
		r.reports.output(outputs(r.dir, runAt(n), 1, 1<<20)...)
	}
	f := r.follower(-1, 1<<20)
	r.reports.begin(t.Context())
	for n := range 20 {
		r.reports.look()
		if n < 10 {
			continue
		}
		f.write(10)
		for range rounds {
			r.reports.look()
		}
		if f.queued != f.size {
			t.Fatalf("%d bytes of %d are queued after %d rounds", f.queued, f.size, rounds)
		}
		for range n {
			r.reports.look()
		}
	}
}

// TestAckedIsFreed has a long run's output delivered while it goes on: the disk is given back. The next life of the agent
// delivers the rest, and takes no hole for output.
func TestAckedIsFreed(t *testing.T) {
	t.Parallel()
	const limit = 64 << 20
	r := newRig(t, t.TempDir())
	f := r.follower(1, limit)
	r.reports.begin(t.Context())
	for range 60 {
		f.write(777_777)
		r.reports.look()
		r.sendAll()
	}
	r.reports.look()
	if n, most := onDisk(t, f.path), int64(limit/2+slack); n > most || f.size-limit/2 < freeStep {
		t.Errorf("it takes %d bytes, at most %d, after %d", n, most, f.size)
	}
	if d := r.reports.depth(); d.outputs > limit/2+slack || d.lost > 0 {
		t.Errorf("%+v", d)
	}
	before := r.desk.checkPlaces(t, f.run)
	if before != limit/2 {
		t.Errorf("%d bytes delivered while it goes on, want %d", before, limit/2)
	}
	if err := r.journal.close(); err != nil {
		t.Fatal(err)
	}

	again := newRig(t, r.dir)
	again.runner.recover()
	again.begin()
	again.ended(f.run)
	more := again.desk.checkPlaces(t, f.run)
	if want := f.size - limit/2; more < want || more > want+2*freeStep {
		t.Errorf("the next life delivers %d bytes, of which %d are new", more, want)
	}
}

// TestSpoolNextLife kills the agent while the disk is short. What it gave up in the midst of an output is a gap for the next.
func TestSpoolNextLife(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir())
	f := r.follower(1, 16<<20)
	f.write(100_000)
	r.reports.spool = spool{dir: r.dir, size: 1}
	r.reports.relieve()
	for range 10 {
		f.write(300_000)
		r.reports.look()
	}
	if err := r.journal.close(); err != nil {
		t.Fatal(err)
	}
	again := newRig(t, r.dir)
	again.runner.recover()
	again.begin()
	got := again.ended(f.run)
	if n := again.desk.checkPlaces(t, f.run); n < smallHead || n > 500_000 || got.Attempts[0].StdoutBytes != f.size {
		t.Errorf("%d bytes of %d, and the run says %d", n, f.size, got.Attempts[0].StdoutBytes)
	}
}

// TestOutputLimit writes up to and over the limit, to the byte: the head and the tail are kept, and the middle is the gap.
func TestOutputLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []int64{1, 2, 3, 1000, 1001, 2*chunkSize + 1} {
		for _, size := range []int64{0, 1, limit / 2, limit/2 + 1, limit - 1, limit, limit + 1, limit + 2, 2 * limit, 3*limit + 1} {
			for _, looks := range []bool{false, true} {
				r := newRig(t, t.TempDir())
				r.reports.begin(t.Context())
				f := r.follower(1, limit)
				for f.size < size {
					f.write(min(max(size/3, 1), size-f.size))
					if looks {
						r.reports.look()
					}
				}
				r.reports.finish([]*output{f.output})
				r.sendAll()
				whole := string(written(0, size))
				want := whole
				if size > limit {
					head := limit - limit/2
					want = whole[:head] + fmt.Sprintf("<%d bytes>", size-limit) + whole[size-limit/2:]
				}
				got := r.desk.text(t, f.run, crony.Stdout)
				if size > limit && limit == 1 { // no tail shows the gap; the run's record does
					got += fmt.Sprintf("<%d bytes>", size-limit)
				}
				if got != want {
					t.Errorf("limit %d, size %d, looked at %t: %d bytes, want %d", limit, size, looks, len(got), len(want))
				}
				if err := r.journal.close(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestAnyBytes runs a job whose output is random, with terminal sequences and a line of megabytes: it is delivered as it is.
func TestAnyBytes(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var data bytes.Buffer
	data.WriteString("\x1b[31mred\x1b[0m\r\n\x1b]0;title\a")
	for range 3 << 20 {
		data.WriteByte(byte(rng.Uint32()))
	}
	data.WriteString(strings.Repeat("é", 2<<20) + "\x00\xff\xfe")
	path := writeTo(t, filepath.Join(t.TempDir(), "data"), data.String())
	r := newRig(t, t.TempDir()).begin()
	id := r.start(sh("cat " + path + "; cat " + path + " >&2"))
	r.ended(id)
	for _, stream := range []crony.Stream{crony.Stdout, crony.Stderr} {
		if r.desk.text(t, id, stream) != data.String() {
			t.Errorf("%s is not what was written", stream)
		}
	}
}

// smallFS mounts a file system of a size and so many files, and skips the test where that is not allowed.
func smallFS(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("a small file system needs root: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill takes all that is left of a file system, as others do.
func fill(t *testing.T, dir string) {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "others"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for size := 1 << 20; size > 0; {
		if _, err := file.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// TestFullDisk has others fill the disk: jobs start and end, and that is on record, also for the next life.
func TestFullDisk(t *testing.T) {
	dir := smallFS(t, "size=8m")
	r := newRig(t, dir)
	r.journal.reserve(1 << 30)
	r.reports.spool = spool{dir: dir, size: 1 << 30, free: 1 << 20}
	fill(t, dir)
	r.begin()
	eventually(t, "the disk to be found short", func() bool { return r.reports.depth().short })
	script := func(j *crony.Job) { j.Shell = &crony.Shell{Script: "test \"$(cat)\" = given; exit $?", Stdin: "given"} }
	for n := range 40 {
		job := sh("echo something")
		if n%2 == 0 {
			job = script
		}
		if got := r.ended(r.start(job)); got.State != crony.Succeeded {
			t.Fatalf("run %d: %s, %s", n, got.State, got.Reason)
		}
	}
	away := r.start(sh("exec sleep 100"))
	eventually(t, "it to run", func() bool { return r.desk.run(away).State == crony.Running })
	r.stop()
	j, text := journalAt(t, filepath.Join(dir, "journal"))
	if text.String() != "" || j.count() > 1 {
		t.Errorf("%d runs, %s", j.count(), text)
	}
}

// TestNoFiles has no room for output files: runs go on without, and say so. One that an agent was starting when it was killed
// does not start again.
func TestNoFiles(t *testing.T) {
	dir := smallFS(t, "size=8m,nr_inodes=4") // the root, the folder of outputs, the journal, and one more
	r := newRig(t, dir)
	if _, err := os.Create(filepath.Join(dir, "others")); err != nil {
		t.Fatal(err)
	}
	r.begin()
	const gone = "its output was not kept"
	if got := r.ended(r.start(sh("echo something"))); got.State != crony.Succeeded || !strings.HasPrefix(got.Reason, gone) {
		t.Errorf("%s, %q", got.State, got.Reason)
	}
	got := r.ended(r.start(func(j *crony.Job) {
		j.Shell = &crony.Shell{Interpreter: "/bin/bash", Script: "read -r line; test $line = given && exit 3", Stdin: "given\n"}
	}))
	if got.State != crony.Failed || !strings.HasPrefix(got.Reason, "exit code 3; "+gone) || len(got.Attempts) != 1 {
		t.Errorf("%s, %q", got.State, got.Reason)
	}
	if info, err := os.Stat(os.DevNull); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%s is %v, %v", os.DevNull, info.Mode(), err)
	}
	r.stop()

	id := crony.NewRunID(time.Now())
	leave(t, dir, id, "", claimedBy(id), entry{Begins: id})
	again := newRig(t, dir)
	if claims := again.runner.recover(); len(claims) > 0 {
		t.Errorf("it would start again: %v", claims)
	}
	again.begin()
	if got := again.ended(id); got.State != crony.Lost {
		t.Errorf("%s, %s", got.State, got.Reason)
	}
}

// TestStray has a damaged journal forget a run that had started, and a server that still thinks it is owed.
func TestStray(t *testing.T) {
	t.Parallel()
	dir, id := t.TempDir(), crony.NewRunID(noon)
	leave(t, dir, id, "before", claimedBy(runAt(1)), claimedBy(id), claimedBy(runAt(2)))
	path := filepath.Join(dir, "journal")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, []byte(id))] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, dir)
	if claims := r.runner.recover(); len(claims) != 2 || r.journal.knows(id) {
		t.Fatalf("claims %v", claims)
	}
	r.begin()
	j := testJob(sh("echo again"))
	if err := r.runner.claim(id, j, crony.ClaimedFact{Trigger: crony.BySchedule, ScheduledAt: noon}); err != nil {
		t.Fatal(err)
	}
	r.runner.start(newAttempt(id, j, noon))
	if got := r.ended(id); got.State != crony.Lost || r.desk.text(t, id, crony.Stdout) != "before" {
		t.Errorf("%s, %q", got.State, r.desk.text(t, id, crony.Stdout))
	}
}
