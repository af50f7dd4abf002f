package testhosts_test

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/embedded/runlog"
	"crony/internal/testhosts"
)

// TestAcked has two agents report thousands of batches of runs that they make up, while one server after the other is killed,
// frozen, cut off, or has a disk that is slow, fails or is full, and sometimes all are killed at once. What was acknowledged must
// then be on every server as it was sent, and all servers must hold the same. CRONY_CRASH_FOR is for how long (a minute),
// CRONY_CRASH_SEED replays what is done.
func TestAcked(t *testing.T) {
	long(t)
	f := newFleet(t, 3, 2)
	seed := seedOf(t, "CRONY_CRASH_SEED")
	random := rand.New(rand.NewPCG(seed, 2))
	recorders := f.recorders(random)

	for end := time.Now().Add(durationOf(t, "CRONY_CRASH_FOR", time.Minute)); time.Now().Before(end); {
		f.strike(random)
		pauseUpTo(random, 2*time.Second)
	}
	for _, s := range f.servers {
		f.revive(s)
	}
	f.Wait(2*time.Minute, "the cluster to be whole", func() bool { return f.up() == 3 })

	sent := map[crony.RunID][]acked{}
	records := 0
	for _, r := range recorders {
		if err := os.WriteFile(filepath.Join(r.dir, "finish"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range recorders {
		f.Wait(time.Minute, "the last acknowledgement", func() bool { return ended(r.proc) })
		if err := r.proc.Err(); err != nil {
			t.Errorf("recorder: %v\n%s", err, r.proc.Log())
		}
		records += readAcked(t, filepath.Join(r.dir, "acked"), sent)
	}
	t.Logf("%d records of %d runs were acknowledged", records, len(sent))
	if records < 1000 {
		t.Errorf("%d records are too few to mean something", records)
	}
	over, last := time.Now().Add(2*time.Minute), "" // the minutes that go on are left out of a comparison
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(last)
		}
	})
	f.Wait(6*time.Minute, "the servers to hold the same", func() bool {
		last, _ = f.ask(f.first(), "cluster", "status", "-o", "json")
		return f.alike(over)
	})
	f.holdAll(sent)
}

// recording is a recorder that goes on.
type recording struct {
	proc *testhosts.Process
	dir  string
}

// recorders has each agent's host run a recorder in its place.
func (f *fleet) recorders(random *rand.Rand) []recording {
	f.t.Helper()
	var list []recording
	for _, a := range f.agents {
		if err := a.proc.Stop(20 * time.Second); err != nil {
			f.t.Error(err)
		}
		dir := filepath.Join(a.Dir, "agent")
		proc := a.Start("recorder", "env", recorderDir+"="+dir, recorderSeed+"="+strconv.FormatUint(random.Uint64(), 10), os.Args[0])
		list = append(list, recording{proc, dir})
	}
	return list
}

func ended(p *testhosts.Process) bool {
	select {
	case <-p.Ended():
		return true
	default:
		return false
	}
}

func pauseUpTo(random *rand.Rand, d time.Duration) {
	time.Sleep(time.Duration(random.Int64N(int64(d))))
}

// strike does something to a server, and ends it after a while; or kills all of them at once.
func (f *fleet) strike(random *rand.Rand) {
	s := f.servers[random.IntN(len(f.servers))]
	what := random.IntN(8)
	f.t.Logf("%s: %s %s", time.Now().Format(time.TimeOnly), s.Name, [...]string{"killed", "frozen", "cut off", "slow disk", "failing disk",
		"full disk", "all killed", "stopped"}[what])
	switch what {
	case 0:
		s.proc.Kill()
		pauseUpTo(random, 3*time.Second)
	case 1:
		s.proc.Freeze()
		pauseUpTo(random, 5*time.Second)
		s.proc.Thaw()
	case 2:
		s.CutOff()
		pauseUpTo(random, 5*time.Second)
		s.Heal()
	case 3:
		end := s.proc.Fault("fsync,fdatasync:delay_enter=200000")
		pauseUpTo(random, 3*time.Second)
		end()
	case 4:
		end := s.proc.Fault("fsync,fdatasync:error=EIO:when=" + strconv.Itoa(1+random.IntN(20)) + "+" + strconv.Itoa(1+random.IntN(20)))
		pauseUpTo(random, 3*time.Second)
		end()
	case 5:
		s = f.servers[2] // has a disk that can be filled
		fill := filepath.Join(s.data, "fill")
		exec.Command("dd", "if=/dev/zero", "of="+fill, "bs=1M").Run() // it ends when the disk is full
		pauseUpTo(random, 3*time.Second)
		if err := os.Remove(fill); err != nil {
			f.t.Error(err)
		}
	case 6:
		for _, x := range f.servers {
			x.proc.Kill()
		}
		for _, x := range f.servers {
			f.revive(x)
		}
	case 7:
		s.proc.Stop(20 * time.Second) // it may have ended by itself before
	}
	f.revive(s)
}

// revive starts a server again if it has ended.
func (f *fleet) revive(s *server) {
	if ended(s.proc) {
		f.start(s)
	}
}

func readAcked(t *testing.T, file string, into map[crony.RunID][]acked) (n int) {
	t.Helper()
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	for ; lines.Scan(); n++ {
		var a acked
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		into[a.Run] = append(into[a.Run], a)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// holdAll stops the servers, and holds what is in their run logs against what was acknowledged and against each other.
func (f *fleet) holdAll(sent map[crony.RunID][]acked) {
	f.t.Helper()
	var first map[string]runlog.Sum
	for i, s := range f.servers {
		if err := s.proc.Stop(20 * time.Second); err != nil {
			f.t.Error(err)
		}
		l, err := runlog.Open(runlog.Options{Dir: filepath.Join(s.data, "runs")})
		if err != nil {
			f.t.Fatal(err)
		}
		sums, err := l.Days(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		if i == 0 {
			first = sums
		} else if diff := cmp.Diff(first, sums); diff != "" {
			f.t.Errorf("%s holds other records than %s:\n%s", s.Name, f.servers[0].Name, diff)
		}
		for day, kept := range sums {
			if counted := countedIn(f.t, l, day); counted != kept {
				f.t.Errorf("%s counts %+v on %s, and has %+v", s.Name, kept, day, counted)
			}
		}
		f.holds(s, l, sent)
		if err := l.Close(); err != nil {
			f.t.Error(err)
		}
	}
}

// countedIn is what a log holds of a day, counted record by record.
func countedIn(t *testing.T, l *runlog.Log, day string) (sum runlog.Sum) {
	t.Helper()
	for minute := range 24 * 60 {
		items, err := l.Items(t.Context(), day, minute)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range items {
			sum.Records += s.Records
			sum.Hash += s.Hash
		}
	}
	return sum
}

func (f *fleet) holds(s *server, l *runlog.Log, sent map[crony.RunID][]acked) {
	f.t.Helper()
	missing := 0
	for id, list := range sent {
		output := map[crony.Stream][]byte{}
		for c, err := range l.Output(f.t.Context(), id, false) {
			if err != nil {
				f.t.Errorf("%s: output of run %s: %v", s.Name, id, err)
				break
			}
			if int64(len(output[c.Stream])) == c.Offset {
				output[c.Stream] = append(output[c.Stream], c.Data...)
			}
		}
		var facts []crony.Fact
		for _, a := range list {
			if a.Fact != nil {
				facts = append(facts, *a.Fact)
				continue
			}
			data := output[a.Stream]
			if end := a.Offset + int64(a.Length); end > int64(len(data)) || castagnoli(data[a.Offset:end]) != a.Sum {
				missing++
				f.t.Errorf("%s: output of run %s from %d to %d is missing or changed", s.Name, id, a.Offset, end)
			}
		}
		want, ok := crony.Fold(facts)
		got, err := l.Run(f.t.Context(), id)
		if ok && (err != nil || !cmp.Equal(want, got)) {
			missing++
			f.t.Errorf("%s: run %s is not as it was acknowledged: %v\n%s", s.Name, id, err, cmp.Diff(want, got))
		}
		if missing > 20 {
			f.t.Fatal("and so on")
		}
	}
}

// TestOutputEverywhere starts runs that go on, and reads what they write at each server while they do.
func TestOutputEverywhere(t *testing.T) {
	long(t)
	f := newFleet(t, 3, 1)
	f.must(f.first(), "job", "apply", "-f", f.file("talk.yaml",
		"jobs: [{name: talk, schedule: '@yearly', shell: {command: 'date +%s.%N; sleep 10; echo over'}}]"))
	for _, s := range f.servers {
		var id string
		f.Wait(30*time.Second, "the job to be started", func() bool {
			out, err := f.ask(f.first(), "run", "start", "talk")
			id = strings.TrimSpace(out)
			return err == nil
		})
		var began string
		f.Wait(10*time.Second, "its output at "+s.Name, func() bool {
			out, err := f.ask(s, "run", "logs", id)
			began = strings.TrimSpace(out)
			return err == nil && began != ""
		})
		seconds, err := strconv.ParseFloat(began, 64)
		if err != nil {
			t.Fatalf("at %s: %q", s.Name, began)
		}
		late := time.Since(time.Unix(0, int64(seconds*1e9)))
		t.Logf("seen at %s %s after it was written", s.Name, late.Round(time.Millisecond))
		if late > 3*time.Second {
			t.Errorf("it took %s to be seen at %s", late, s.Name)
		}
	}
}
