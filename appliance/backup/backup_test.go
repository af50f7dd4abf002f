package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func TestRoundTrip(t *testing.T) {
	files := parts(t)
	one, other := newKeys(t), newKeys(t)
	data := archive(t, files, one.recipient, other.recipient, one.recipient)
	want := manifestOf(files)
	for name, key := range map[string]string{"one": one.key, "other": "# a key file\n\n" + other.key + "\n"} {
		got, err := Verify(t.Context(), bytes.NewReader(data), key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: verified (-want +got):\n%s", name, diff)
		}
		for _, r := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data))} {
			dir := filepath.Join(t.TempDir(), "restored")
			if got, err = Extract(t.Context(), r, key, dir); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: extracted (-want +got):\n%s", name, diff)
			}
			wantTree := map[string]string{"pki": fmt.Sprintf("drwx------ %x", sha256.Sum256(nil)),
				"runs": fmt.Sprintf("drwx------ %x", sha256.Sum256(nil))}
			for _, f := range files {
				wantTree[f.name] = fmt.Sprintf("-rw------- %x", sha256.Sum256(f.data))
			}
			if diff := cmp.Diff(wantTree, tree(t, dir)); diff != "" {
				t.Errorf("%s: on disk (-want +got):\n%s", name, diff)
			}
		}
	}
	if bytes.Contains(data, []byte("manifest")) || bytes.Contains(data, []byte("c1")) && bytes.Contains(data, []byte("alpha")) {
		t.Error("the archive is readable")
	}
}

func TestSize(t *testing.T) {
	m := Manifest{Files: []File{{Size: 1 << 20}, {Size: 2 << 20}}}
	if m.Size() != 3*crony.MiB {
		t.Errorf("got %s", m.Size())
	}
}

func TestWrongKey(t *testing.T) {
	data := archive(t, parts(t), newKeys(t).recipient)
	_, err := Verify(t.Context(), bytes.NewReader(data), newKeys(t).key)
	if crony.CodeOf(err) != crony.Forbidden || !strings.Contains(err.Error(), "another recovery key") {
		t.Errorf("got %v", err)
	}
}

// TestCut reads an archive that is cut off after every number of bytes that it could be.
func TestCut(t *testing.T) {
	k := newKeys(t)
	data := archive(t, parts(t), k.recipient)
	t.Logf("%d bytes", len(data))
	for n := range data {
		dir := filepath.Join(t.TempDir(), "restored")
		_, err := Extract(t.Context(), bytes.NewReader(data[:n]), k.key, dir)
		if crony.CodeOf(err) != crony.Invalid || n > 0 && !strings.Contains(err.Error(), "cut short") {
			t.Errorf("after %d bytes: %v", n, err)
		}
		wantGone(t, dir)
	}
}

// TestFlip reads an archive in which one byte is another, whichever it is.
func TestFlip(t *testing.T) {
	k := newKeys(t)
	data := archive(t, parts(t), k.recipient)
	for i := range data {
		flipped := bytes.Clone(data)
		flipped[i] ^= 1 << (i % 8)
		_, err := Verify(t.Context(), bytes.NewReader(flipped), k.key)
		if code := crony.CodeOf(err); code != crony.Invalid && code != crony.Forbidden {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	_, err := Verify(t.Context(), bytes.NewReader(append(bytes.Clone(data), 'x')), k.key)
	if crony.CodeOf(err) != crony.Invalid {
		t.Errorf("a byte more: %v", err)
	}
}

// TestDamageIsLocated flips a byte in the middle of an archive that is larger than one of age's pieces.
func TestDamageIsLocated(t *testing.T) {
	k := newKeys(t)
	data := archive(t, append(parts(t), noise(t, 1<<20)), k.recipient)
	data[len(data)/2] ^= 1
	_, err := Verify(t.Context(), bytes.NewReader(data), k.key)
	var from, to int
	if err == nil {
		t.Fatal("not noticed")
	}
	const form = "the archive is damaged: something between its bytes %d and %d"
	if _, scanErr := fmt.Sscanf(err.Error(), form, &from, &to); scanErr != nil {
		t.Fatalf("got %v", err)
	}
	if from > len(data)/2 || to <= len(data)/2 || to-from > 80<<10 {
		t.Errorf("located in %d to %d, and it was %d", from, to, len(data)/2)
	}
}

// noise is a day of the run log that can't be compressed.
func noise(tb testing.TB, size int) named {
	tb.Helper()
	data := make([]byte, size)
	copy(data[copy(data, database(tb)[:4096]):], random(size-4096))
	return named{RunsDir + "runs-2026-11-22.db", data}
}

func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	return data
}

func wantGone(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

func TestExtractInto(t *testing.T) {
	k := newKeys(t)
	files := parts(t)
	data := archive(t, files, k.recipient)
	t.Run("empty", func(t *testing.T) {
		dir := t.TempDir()
		if _, err := Extract(t.Context(), bytes.NewReader(data[:len(data)-1]), k.key, dir); err == nil {
			t.Error("a cut archive was extracted")
		}
		if left := tree(t, dir); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
		if _, err := Extract(t.Context(), bytes.NewReader(data), k.key, dir); err != nil {
			t.Error(err)
		}
		// What was restored is not written over.
		before := tree(t, dir)
		if _, err := Extract(t.Context(), bytes.NewReader(data), k.key, dir); crony.CodeOf(err) != crony.Conflict {
			t.Errorf("again: %v, want a conflict", err)
		}
		if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("no parent", func(t *testing.T) {
		if _, err := Extract(t.Context(), bytes.NewReader(data), k.key, filepath.Join(t.TempDir(), "a", "b")); err == nil {
			t.Error("no error")
		}
	})
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Extract(t.Context(), bytes.NewReader(data), k.key, path); err == nil {
			t.Error("no error")
		}
	})
}

func TestWriteRefuses(t *testing.T) {
	k := newKeys(t)
	for name, recipients := range map[string][]string{
		"none": nil, "nonsense": {"age1nonsense"}, "a key": {k.key}, "one of two": {k.recipient, ""},
	} {
		err := Write(t.Context(), io.Discard, recipients, about(), func(Put) (int64, error) {
			t.Errorf("%s: parts are asked for", name)
			return 0, nil
		})
		e, ok := errors.AsType[*crony.Error](err)
		if !ok || e.Code != crony.Invalid || e.Hint == "" || strings.Contains(err.Error(), k.key) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, a := range map[string]About{"no cluster": {CreatedAt: noon()}, "no time": {Cluster: "c1"}} {
		if err := Write(t.Context(), io.Discard, []string{k.recipient}, a, putAll(parts(t))); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWriteBreaks writes archives whose parts are at fault. What was written until then must not pass for an archive.
func TestWriteBreaks(t *testing.T) {
	k := newKeys(t)
	errOwn := errors.New("own error")
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	good := putAll(parts(t))
	for name, broken := range map[string]func(Put) (int64, error){
		"parts' error":   func(put Put) (int64, error) { _, err := good(put); return 0, errors.Join(err, errOwn) },
		"write's error":  func(put Put) (int64, error) { return 1, put(KeyspaceFile, 1, func(io.Writer) error { return errOwn }) },
		"too few bytes":  func(put Put) (int64, error) { return 1, put(KeyspaceFile, 5, text("four")) },
		"too many bytes": func(put Put) (int64, error) { return 1, put(KeyspaceFile, 3, text("four")) },
		"a path":         func(put Put) (int64, error) { return 1, put("../x", 4, text("four")) },
		"twice": func(put Put) (int64, error) {
			_, err := good(put)
			_, again := good(put)
			return 1, errors.Join(err, again)
		},
		"no size": func(put Put) (int64, error) { return 1, put(KeyspaceFile, -1, text("")) },
		"an error that is passed over": func(put Put) (int64, error) {
			_ = put("nonsense", 1, text("x"))
			_, _ = good(put)
			return 1, nil
		},
		"nothing": func(Put) (int64, error) { return 1, nil },
	} {
		var out bytes.Buffer
		if err := Write(t.Context(), &out, []string{k.recipient}, about(), broken); err == nil {
			t.Errorf("%s: written", name)
		}
		if m, err := Verify(t.Context(), &out, k.key); err == nil {
			t.Errorf("%s: verified: %v", name, m)
		}
	}
	errOut := errors.New("disk full")
	full := writerFunc(func([]byte) (int, error) { return 0, errOut })
	if err := Write(t.Context(), full, []string{k.recipient}, about(), good); !errors.Is(err, errOut) {
		t.Errorf("a full disk: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	err := Write(ctx, io.Discard, []string{k.recipient}, about(), func(put Put) (int64, error) {
		cancel(errOwn)
		return good(put)
	})
	if !errors.Is(err, errOwn) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestSpooled(t *testing.T) {
	k, dir := newKeys(t), t.TempDir()
	files := parts(t)
	var out bytes.Buffer
	err := Write(t.Context(), &out, []string{k.recipient}, about(), func(put Put) (int64, error) {
		err := put.Spooled(dir, files[0].name, func(w io.Writer) error {
			for chunk := range slices.Chunk(files[0].data, 1000) {
				if _, err := w.Write(chunk); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		return putAll(files[1:])(put)
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Verify(t.Context(), &out, k.key)
	if diff := cmp.Diff(manifestOf(files), got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	errOwn := errors.New("own error")
	err = Put(nil).Spooled(dir, KeyspaceFile, func(io.Writer) error { return errOwn })
	if !errors.Is(err, errOwn) {
		t.Errorf("got %v", err)
	}
	if left := tree(t, dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestReadStops(t *testing.T) {
	k := newKeys(t)
	data := archive(t, append(parts(t), noise(t, 1<<20)), k.recipient)
	errOwn := errors.New("own error")
	for _, n := range []int64{0, 10, 300, 1000, 500_000} {
		r := io.MultiReader(io.LimitReader(bytes.NewReader(data), n), iotest.ErrReader(errOwn))
		dir := filepath.Join(t.TempDir(), "restored")
		if _, err := Extract(t.Context(), r, k.key, dir); !errors.Is(err, errOwn) {
			t.Errorf("an error of the source after %d bytes: %v", n, err)
		}
		wantGone(t, dir)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errOwn)
	if _, err := Verify(ctx, bytes.NewReader(data), k.key); !errors.Is(err, errOwn) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestMemory writes and reads a large archive at once, and looks meanwhile how much memory that takes.
func TestMemory(t *testing.T) {
	size := int64(200 << 20)
	if testing.Short() {
		size = 32 << 20
	}
	const most = 50 << 20
	k, files := newKeys(t), parts(t)
	head := database(t)[:4096]

	runtime.GC()
	before := heap()
	var peak uint64
	in, out := io.Pipe()
	done := make(chan error)
	go func() {
		err := Write(t.Context(), out, []string{k.recipient}, about(), func(put Put) (int64, error) {
			err := put(RunsDir+"runs-2026-11-23.db", size, func(w io.Writer) error {
				if _, err := w.Write(head); err != nil {
					return err
				}
				source, buf := rand.NewChaCha8([32]byte{}), make([]byte, 4096)
				for n := int64(len(head)); n < size; n += int64(len(buf)) {
					_, _ = source.Read(buf)
					if _, err := w.Write(buf); err != nil {
						return err
					}
					if n%(4<<20) == 0 {
						peak = max(peak, heap())
					}
				}
				return nil
			})
			if err != nil {
				return 0, err
			}
			return putAll(files)(put)
		})
		done <- errors.Join(err, out.CloseWithError(err))
	}()
	m, err := Verify(t.Context(), in, k.key)
	if err := errors.Join(err, in.Close(), <-done); err != nil {
		t.Fatal(err)
	}
	if int64(m.Size()) < size {
		t.Errorf("%s were read", m.Size())
	}
	took := peak - min(before, peak)
	t.Logf("%d MB were written and read with %d MB of memory", size>>20, took>>20)
	if took > most {
		t.Errorf("%d MB of memory, want at most %d", took>>20, most>>20)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
