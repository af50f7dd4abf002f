//go:build linux

package agent

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// readFrames returns the runs of all whole frames of data, as a journal reads them.
func readFrames(t testing.TB, data []byte) (settled []string, torn int) {
	t.Helper()
	f := newFrames(bytes.NewReader(data), int64(len(data)))
	for {
		off := f.off
		e, n, err := f.next()
		switch {
		case err == nil:
			if f.off != off+n || n <= frameHead {
				t.Fatalf("a frame of %d bytes moves from %d to %d", n, off, f.off)
			}
			settled = append(settled, string(e.Settled))
			continue
		case errors.Is(err, io.EOF):
			if off != int64(len(data)) {
				t.Fatalf("the end is at %d of %d", off, len(data))
			}
			return settled, torn
		case !errors.Is(err, errTorn): // whole, and of another version
			return settled, torn
		}
		torn++
		more, err := f.skip()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return settled, torn
		}
		if f.off <= off {
			t.Fatalf("skipped from %d to %d", off, f.off)
		}
	}
}

func mustFrame(t testing.TB, e entry) []byte {
	t.Helper()
	data, err := frame(&e)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzFrames puts anything between two whole frames, and after them: both are read, whatever the rest is taken for.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(nil), []byte(nil))
	f.Add([]byte("{\"{\"{"), []byte{0, 0, 0, 0})
	f.Add([]byte{9, 0, 0, 0, 1, 2, 3, 4, '{', '"'}, []byte{255, 255, 255, 255, 0})
	f.Add(mustFrame(f, entry{Settled: runAt(3)}), mustFrame(f, entry{Settled: runAt(4)})[:20])
	f.Fuzz(func(t *testing.T, between, after []byte) {
		first, second := mustFrame(t, entry{Settled: runAt(1)}), mustFrame(t, entry{Settled: runAt(2)})
		got, torn := readFrames(t, bytes.Join([][]byte{first, between, second, after}, nil))
		if len(got) == 0 || got[0] != string(runAt(1)) {
			t.Fatalf("the first frame is lost: %v", got)
		}
		if len(between) == 0 && (len(got) < 2 || got[1] != string(runAt(2))) {
			t.Fatalf("the second frame is lost: %v", got)
		}
		if torn == 0 && len(between)+len(after) > 0 && len(got) < 2 {
			t.Fatalf("%v and nothing is torn", got)
		}
	})
}

// TestFramesAfterDamage has a frame stand at each place about the end of a part of the file that is read at once.
func TestFramesAfterDamage(t *testing.T) {
	t.Parallel()
	first, second := mustFrame(t, entry{Settled: runAt(1)}), mustFrame(t, entry{Settled: runAt(2)})
	for _, fill := range []byte{0, 'x', '{', 0xff} {
		for n := scanSize - 2*frameHead - 4; n < scanSize+4; n++ {
			between := bytes.Repeat([]byte{fill}, n)
			got, torn := readFrames(t, bytes.Join([][]byte{first, between, second}, nil))
			if len(got) != 2 || got[1] != string(runAt(2)) || torn != 1 {
				t.Fatalf("%d bytes of %q between: %v, %d torn", n, fill, got, torn)
			}
		}
	}
}
