package runlog

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/storetest"
)

// childEnv makes this test's binary append to the log in the directory that it names until it is killed.
const (
	childEnv   = "CRONY_RUNLOG_TEST_DIR"
	childStart = "CRONY_RUNLOG_TEST_START"
)

// crashed is the n-th append of a child. Its runs wander over two days, so that both files are written in turn.
func crashed(n int) ([]crony.Fact, []crony.Chunk) {
	at := noon().Add(time.Duration(n)*time.Second + time.Duration(n%2)*24*time.Hour)
	facts := storetest.Life(runAt(at), fmt.Sprintf("job-%d", n%5), "a1", crony.Succeeded)
	return facts, []crony.Chunk{{
		Run: runAt(at), Attempt: 1, Stream: crony.Stdout, At: at, Data: bytes.Repeat([]byte(strconv.Itoa(n)), 200),
	}}
}

// crashedStretch is what the n-th append of a child stores beside it. It ends at an instant of its own.
func crashedStretch(n int) crony.Stretch {
	facts, _ := crashed(n)
	c := facts[0].Claimed
	return crony.Stretch{
		Job: c.Job, JobUID: c.JobUID, From: c.ScheduledAt.Add(-time.Hour), To: c.ScheduledAt, Count: 60,
		End: crony.EndMissed, Reason: strconv.Itoa(n), DecidedAt: c.ScheduledAt,
	}
}

// childMain appends from four goroutines, and says so on standard output as soon as each append is acknowledged. It ends by
// being killed, or with an error.
func childMain(dir string) error {
	start, err := strconv.Atoi(os.Getenv(childStart))
	if err != nil {
		return err
	}
	l, err := Open(Options{Dir: dir})
	if err != nil {
		return err
	}
	errs := make(chan error)
	for w := range 4 {
		go func() {
			for n := start + w; ; n += 4 {
				facts, chunks := crashed(n)
				if err := l.Append(context.Background(), facts, chunks); err != nil {
					errs <- err
				}
				if err := l.AppendStretches(context.Background(), []crony.Stretch{crashedStretch(n)}); err != nil {
					errs <- err
				}
				fmt.Fprintf(os.Stdout, "%d\n", n)
			}
		}()
	}
	return <-errs
}

// TestKill kills a process that appends, again and again, and looks for everything that was acknowledged.
func TestKill(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 5
	}
	dir := filepath.Join(t.TempDir(), "runs")
	var all []int
	for round := range rounds {
		start := 0
		if len(all) > 0 {
			start = slices.Max(all) + 1
		}
		acked := killedChild(t, dir, start, 1+rand.IntN(150))
		wantCrashed(t, dir, acked)
		if all = append(all, acked...); t.Failed() {
			t.Fatalf("in round %d, with %d acknowledged", round, len(all))
		}
	}
	wantCrashed(t, dir, all)
	t.Logf("%d kills, %d appends acknowledged", rounds, len(all))
}

// wantCrashed opens the log and looks for the appends that were acknowledged.
func wantCrashed(t *testing.T, dir string, acked []int) {
	t.Helper()
	l := openTest(t, Options{Dir: dir})
	for _, n := range acked {
		wantAppend(t, l, n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// killedChild starts a child, kills it after some acknowledgements, and returns all of them: those too that it wrote before
// it was dead.
func killedChild(t *testing.T, dir string, start, after int) (acked []int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir, fmt.Sprintf("%s=%d", childStart, start))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		n, err := strconv.Atoi(line[:len(line)-1])
		if err != nil {
			t.Errorf("the child wrote %q", line)
		}
		if acked = append(acked, n); len(acked) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acked) < after {
		t.Fatalf("the child ended by itself after %d acknowledgements: %v", len(acked), err)
	}
	return acked
}

func wantAppend(t *testing.T, l *Log, n int) {
	t.Helper()
	facts, chunks := crashed(n)
	want, _ := crony.Fold(facts)
	got, err := l.Run(t.Context(), want.ID)
	if err != nil {
		t.Errorf("append %d was acknowledged: %v", n, err)
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("append %d (-want +got):\n%s", n, diff)
	}
	var output []byte
	for c, err := range l.Output(t.Context(), want.ID, false) {
		if err != nil {
			t.Error(err)
		}
		output = append(output, c.Data...)
	}
	if !bytes.Equal(output, chunks[0].Data) {
		t.Errorf("append %d: %d bytes of output, want %d", n, len(output), len(chunks[0].Data))
	}
	wantStretch(t, l, crashedStretch(n))
}

func wantStretch(t *testing.T, l *Log, want crony.Stretch) {
	t.Helper()
	got, _, err := l.Stretches(t.Context(), want.Job, want.To, want.To, 1)
	if err != nil || len(got) == 0 || !cmp.Equal(want, got[0]) {
		t.Errorf("a stretch was acknowledged: %v, %v, want %v", got, err, want)
	}
}
