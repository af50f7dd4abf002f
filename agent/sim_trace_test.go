//go:build linux

package agent

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// simTrace is all that happens in a story, a line each, as it goes over wires and to disks; a nil one writes nothing.
type simTrace struct {
	file *bufio.Writer
}

// openTrace makes the trace of a story, if CRONY_SIM_TRACE says where: its name is that and the seed.
func openTrace(t *testing.T, seed uint64) *simTrace {
	t.Helper()
	name := os.Getenv("CRONY_SIM_TRACE")
	if name == "" {
		return nil
	}
	file, err := os.Create(fmt.Sprintf("%s.%d", name, seed))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &simTrace{bufio.NewWriter(file)}
}

func (r *simTrace) line(who, format string, args ...any) {
	if r != nil {
		fmt.Fprintf(r.file, "%d %s "+format+"\n", append([]any{time.Since(bubbleBegan()), who}, args...)...)
	}
}

func (r *simTrace) message(who string, m proto.Message) {
	if r == nil {
		return
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	r.line(who, "%q, %v", data, err)
}

// rest is what is there in the end: the keyspace with its revisions, and the journals.
func (s *sim) rest(t *testing.T) {
	r := s.trace
	if r == nil {
		return
	}
	resp, err := s.etcd.Client(t.Context()).Get(t.Context(), "", clientv3.WithPrefix())
	if err != nil {
		t.Error(err)
		return
	}
	for _, kv := range resp.Kvs {
		r.line("etcd", "%s at %d since %d: %q", kv.Key, kv.ModRevision, kv.CreateRevision, kv.Value)
	}
	for _, h := range s.hosts {
		data, err := os.ReadFile(filepath.Join(h.dir, "journal"))
		r.line(h.id, "%q, %v", data, err)
	}
	if err := r.file.Flush(); err != nil {
		t.Error(err)
	}
}

// TestSimReplays has processes of their own tell the same stories, one of them after others: all that happens is the same to
// the byte and the nanosecond.
func TestSimReplays(t *testing.T) {
	if !replays {
		t.Skip("Go as it is chooses at random what happens; make sim runs it with one that does not")
	}
	for seed := uint64(11); seed <= 13; seed++ {
		dir := t.TempDir()
		tellAgain(t, dir, "alone", seed, 1)
		tellAgain(t, dir, "after", seed-2, 3)
		a, b := told(t, dir, "alone", seed), told(t, dir, "after", seed)
		x, y := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
		if len(x) < 5000 {
			t.Errorf("the story of %d has %d lines only", seed, len(x))
		}
		for i := range min(len(x), len(y)) {
			if !bytes.Equal(x[i], y[i]) {
				t.Fatalf("of the seed %d, line %d is\n%.2000s\nand then\n%.2000s", seed, i, x[i], y[i])
			}
		}
		if len(x) != len(y) {
			t.Errorf("the story of %d has %d lines, and then %d", seed, len(x), len(y))
		}
	}
}

func tellAgain(t *testing.T, dir, name string, first, count uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestSim$")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "CRONY_SIM_TRACE="+filepath.Join(dir, name),
		fmt.Sprint("CRONY_SIM_SEED=", first), fmt.Sprint("CRONY_SIM_SEEDS=", count))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func told(t *testing.T, dir, name string, seed uint64) []byte {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("%s.%d", filepath.Join(dir, name), seed))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
