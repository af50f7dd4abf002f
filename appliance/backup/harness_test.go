package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"crony/internal/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) }

func about() About {
	return About{Cluster: "c1", Server: "s1", ServerName: "alpha", Version: "v1.2.3", CreatedAt: noon()}
}

const revision = 42

// keys are a recovery key and its recipient.
type keys struct{ key, recipient string }

func newKeys(tb testing.TB) keys {
	tb.Helper()
	key, recipient, err := NewKey()
	if err != nil {
		tb.Fatal(err)
	}
	return keys{key, recipient}
}

// named is a file of an archive.
type named struct {
	name string
	data []byte
}

// parts are the files of a small archive.
func parts(tb testing.TB) []named {
	tb.Helper()
	db := database(tb)
	sum := sha256.Sum256(db)
	ca, err := pki.NewCA("c1", noon())
	if err != nil {
		tb.Fatal(err)
	}
	return []named{
		{KeyspaceFile, append(bytes.Clone(db), sum[:]...)},
		{RunsDir + "runs-2026-11-20.db", db},
		{RunsDir + "runs-2026-11-21.db", db},
		{RootsFile, ca.Root().PEM()},
		{SealKeyFile, []byte(strings.Repeat("0123456789abcdef", 4) + "\n")},
		{BoundsFile, fmt.Appendf(nil, "%08x\n{}", crc32.Checksum([]byte("{}"), crc32.MakeTable(crc32.Castagnoli)))},
	}
}

// database returns a small file of bbolt.
func database(tb testing.TB) []byte {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1024})
	if err != nil {
		tb.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("b"))
		if err != nil {
			return err
		}
		return b.Put([]byte("key"), []byte("value"))
	})
	var out bytes.Buffer
	if err == nil {
		err = db.View(func(tx *bbolt.Tx) error { _, err := tx.WriteTo(&out); return err })
	}
	if err != nil {
		tb.Fatal(err)
	}
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func putAll(files []named) func(Put) (int64, error) {
	return func(put Put) (int64, error) {
		for _, f := range files {
			err := put(f.name, int64(len(f.data)), func(w io.Writer) error { _, err := w.Write(f.data); return err })
			if err != nil {
				return 0, err
			}
		}
		return revision, nil
	}
}

func archive(tb testing.TB, files []named, recipients ...string) []byte {
	tb.Helper()
	var out bytes.Buffer
	if err := Write(tb.Context(), &out, recipients, about(), putAll(files)); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// entry is one of a tar's.
type entry struct {
	tar.Header
	data []byte
}

func regular(name string, data []byte) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o600}, data}
}

func document(tb testing.TB, name string, v any) entry {
	tb.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return regular(name, data)
}

func manifestOf(files []named) Manifest {
	m := Manifest{Format: Format, About: about(), Revision: revision}
	for _, f := range files {
		sum := sha256.Sum256(f.data)
		m.Files = append(m.Files, file(f.name, int64(len(f.data)), sum[:]))
	}
	return m
}

// entries are those of an archive of files, as Write would make it.
func entries(tb testing.TB, files []named) []entry {
	tb.Helper()
	all := []entry{document(tb, headerFile, header{Format, "c1", noon()})}
	for _, f := range files {
		all = append(all, regular(f.name, f.data))
	}
	return append(all, document(tb, manifestFile, manifestOf(files)))
}

func pack(tb testing.TB, all []entry) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range all {
		if err := w.WriteHeader(&e.Header); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func compress(tb testing.TB, data []byte) []byte {
	tb.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		tb.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

func seal(tb testing.TB, recipient age.Recipient, data []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func (k keys) seal(tb testing.TB, data []byte) []byte {
	tb.Helper()
	recipient, err := age.ParseX25519Recipient(k.recipient)
	if err != nil {
		tb.Fatal(err)
	}
	return seal(tb, recipient, data)
}

// tree lists what is in a directory: names, modes, and the contents of files.
func tree(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		var data []byte
		if !d.IsDir() {
			if data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		found[name] = fmt.Sprintf("%v %x", info.Mode(), sha256.Sum256(data))
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}
