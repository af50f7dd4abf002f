package backup

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/pki"
)

// TestMalformed reads archives that the key opens, and that somebody else has made.
func TestMalformed(t *testing.T) {
	files := parts(t)
	with := func(change func(all []entry) []entry) []entry { return change(entries(t, files)) }
	before := func(e entry) []entry { // the manifest
		return with(func(all []entry) []entry { return slices.Insert(all, len(all)-1, e) })
	}
	manifest := func(change func(*Manifest)) []entry {
		return with(func(all []entry) []entry {
			m := manifestOf(files)
			change(&m)
			all[len(all)-1] = document(t, manifestFile, m)
			return all
		})
	}
	link := entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: RunsDir + "runs-2026-11-25.db", Linkname: "/etc/passwd"}}
	sparse := regular(RunsDir+"runs-2026-11-25.db", []byte("x"))
	sparse.PAXRecords = map[string]string{"CRONY.hello": "x"}
	day := func(name string) entry { return regular(name, files[1].data) }
	for name, test := range map[string]struct {
		entries []entry
		want    string
	}{
		"empty":               {nil, "without a manifest"},
		"no header":           {with(func(all []entry) []entry { return all[1:] }), "begin with header.json"},
		"no manifest":         {with(func(all []entry) []entry { return all[:len(all)-1] }), "without a manifest"},
		"manifest first":      {with(func(all []entry) []entry { return append(all[:1:1], all[len(all)-1]) }), "is not as"},
		"two headers":         {before(document(t, headerFile, header{Format, "c1", noon()})), "no name of a file"},
		"after the manifest":  {append(entries(t, files), day(RunsDir+"runs-2026-11-25.db")), "follows the manifest"},
		"two manifests":       {append(entries(t, files), document(t, manifestFile, manifestOf(files))), "follows the manifest"},
		"up":                  {before(day("../runs-2026-11-25.db")), "no name of a file"},
		"up from runs":        {before(day("runs/../../runs-2026-11-25.db")), "no name of a file"},
		"absolute":            {before(day("/tmp/runs-2026-11-25.db")), "no name of a file"},
		"dot":                 {before(day("./keyspace.db")), "no name of a file"},
		"line end":            {before(day("keyspace.db\n")), "no name of a file"},
		"other file":          {before(day("bin/sh")), "no name of a file"},
		"twice":               {before(day(RunsDir + "runs-2026-11-21.db")), "twice"},
		"link":                {before(link), "not a file"},
		"directory":           {before(entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: "runs/"}}), "not a file"},
		"attributes":          {before(sparse), "has the attribute"},
		"unknown to manifest": {before(day(RunsDir + "runs-2026-11-25.db")), "does not know runs/runs-2026-11-25.db"},
		"missing from archive": {manifest(func(m *Manifest) {
			m.Files = append(m.Files, File{RunsDir + "runs-2026-11-25.db", 1, m.Files[0].SHA256})
		}), "runs/runs-2026-11-25.db is not as"},
		"another sum":     {manifest(func(m *Manifest) { m.Files[1].SHA256 = m.Files[0].SHA256 }), "runs-2026-11-20.db is not as"},
		"another size":    {manifest(func(m *Manifest) { m.Files[1].Size++ }), "runs-2026-11-20.db is not as"},
		"another order":   {manifest(func(m *Manifest) { slices.Reverse(m.Files) }), "is not as"},
		"another time":    {manifest(func(m *Manifest) { m.CreatedAt = noon().Add(time.Hour) }), "of two backups"},
		"another cluster": {manifest(func(m *Manifest) { m.Cluster = "c2" }), "of two backups"},
		"nothing in it": {with(func(all []entry) []entry {
			m := manifestOf(nil)
			return []entry{all[0], document(t, manifestFile, m)}
		}), "keyspace.db is missing"},
		"newer": {with(func(all []entry) []entry {
			all[0] = document(t, headerFile, map[string]any{"format": 2, "x": 1})
			return all
		}), "none above 1"},
		"newer at the end": {manifest(func(m *Manifest) { m.Format = 2 }), "none above 1"},
		"large header":     {[]entry{regular(headerFile, make([]byte, maxHeader+1))}, "more than it can need"},
		"large key":        {before(regular(SealKeyFile, make([]byte, maxSmall+1))), "more than it can need"},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeys(t)
			wantRefused(t, k, k.seal(t, compress(t, pack(t, test.entries))), test.want)
		})
	}
}

// wantRefused reads an archive that is invalid for a reason, both ways.
func wantRefused(t *testing.T, k keys, data []byte, reason string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "outer", "restored")
	if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := Verify(t.Context(), bytes.NewReader(data), k.key)
	_, errExtract := Extract(t.Context(), bytes.NewReader(data), k.key, dir)
	for _, err := range []error{err, errExtract} {
		if crony.CodeOf(err) != crony.Invalid || !strings.Contains(err.Error(), reason) {
			t.Errorf("got %v, want invalid: ...%s", err, reason)
		}
	}
	if left := tree(t, filepath.Dir(dir)); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestContent reads archives that are whole, but hold a file that is not what it should be.
func TestContent(t *testing.T) {
	good := parts(t)
	flip := func(data []byte, i int) []byte {
		data = bytes.Clone(data)
		data[i] ^= 1
		return data
	}
	resealed := func(data []byte) []byte {
		sum := sha256.Sum256(data)
		return append(bytes.Clone(data), sum[:]...)
	}
	db := good[1].data
	other, err := pki.NewCA("c2", noon())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file int
		data []byte
		want string
	}{
		"keyspace changed":     {0, flip(good[0].data, len(db)/2), "damaged before it came into the archive"},
		"keyspace's sum":       {0, flip(good[0].data, len(good[0].data)-1), "damaged before it came into the archive"},
		"keyspace without sum": {0, db, "its checksum is missing"},
		"keyspace empty":       {0, nil, "its checksum is missing"},
		"keyspace short":       {0, resealed(nil), "too short"},
		"keyspace other":       {0, resealed(make([]byte, 4096)), "not a database"},
		"keyspace cut":         {0, resealed(db[:len(db)-1024]), "ought to have"},
		"day other":            {1, make([]byte, 4096), "not a database"},
		"day empty":            {1, nil, "too short"},
		"day's first page":     {1, flip(db, 60), "first page is damaged"},
		"day cut":              {1, db[:len(db)-1], "ought to have"},
		"bounds changed":       {5, flip(good[5].data, len(good[5].data)-1), "checksum does not fit"},
		"no authority":         {3, []byte("hello"), "pki/ca.crt"},
		"other authority":      {3, other.Root().PEM(), "of cluster c2"},
		"no key":               {4, []byte("hello"), "pki/seal.key"},
	} {
		t.Run(name, func(t *testing.T) {
			files := slices.Clone(good)
			files[test.file].data = test.data
			k := newKeys(t)
			wantRefused(t, k, archive(t, files, k.recipient), test.want)
		})
	}
}

// TestNoArchive gives other files than archives.
func TestNoArchive(t *testing.T) {
	k := newKeys(t)
	files := parts(t)
	tarred := pack(t, entries(t, files))
	passphrase, err := age.NewScryptRecipient("open sesame")
	if err != nil {
		t.Fatal(err)
	}
	passphrase.SetWorkFactor(4)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":          {nil, "it is empty"},
		"one byte":       {[]byte("a"), "cut short"},
		"text":           {[]byte("hello, world\n"), "looks like a text"},
		"noise":          {random(1000), "looks like something else"},
		"page":           {[]byte("\n<!DOCTYPE html><html>"), "looks like a web page"},
		"answer":         {[]byte(`{"title": "not found"}`), "looks like a JSON document"},
		"etcd":           {files[0].data, "looks like a database of bbolt"},
		"tar":            {tarred, "looks like a tar"},
		"zstd":           {compress(t, tarred), "looks like a file of zstd"},
		"gzip":           {[]byte("\x1f\x8b\x08\x00"), "looks like a file of gzip"},
		"key":            {[]byte("# created: now\n" + k.key), "key file of age-keygen"},
		"bare key":       {[]byte(k.key), "a recovery key"},
		"armor":          {[]byte("-----BEGIN AGE ENCRYPTED FILE-----\nYWdl"), "as text"},
		"certificate":    {files[3].data, "a certificate or a key"},
		"passphrase":     {seal(t, passphrase, compress(t, tarred)), "sealed by age, but in another way"},
		"sealed text":    {k.seal(t, []byte("hello")), "not a backup as crony makes them"},
		"sealed nothing": {k.seal(t, nil), "not a backup as crony makes them"},
		"sealed tar":     {k.seal(t, tarred), "not a backup as crony makes them"},
		"sealed noise":   {k.seal(t, compress(t, random(1000))), "not a backup as crony makes them"},
		"after tar":      {k.seal(t, compress(t, append(bytes.Clone(tarred), make([]byte, 512)...))), "something follows its end"},
		"after zstd":     {k.seal(t, append(compress(t, tarred), 0)), "not a backup as crony makes them"},
		"more zstd":      {k.seal(t, append(compress(t, tarred), compress(t, []byte("x"))...)), "something follows its end"},
		"half of a zstd": {k.seal(t, compress(t, tarred)[:600]), "not a backup as crony makes them"},
		"half of a tar":  {k.seal(t, compress(t, tarred[:len(tarred)/2])), "not a backup as crony makes them"},
		"two archives":   {append(archive(t, files, k.recipient), archive(t, files, k.recipient)...), "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, k, test.data, test.want)
		})
	}
}

// unpacked reads a tar as it is inside of an archive.
func unpacked(data []byte) (Manifest, map[string][]byte, error) {
	stored := map[string][]byte{}
	a := &reader{
		tar:   tar.NewReader(bytes.NewReader(data)),
		fault: func(err error) error { return malformed("%v", err) },
		store: func(name string) (io.WriteCloser, error) {
			return storing{name, stored}, nil
		},
	}
	m, err := a.read()
	return m, stored, err
}

type storing struct {
	name string
	in   map[string][]byte
}

func (s storing) Write(p []byte) (int, error) {
	s.in[s.name] = append(s.in[s.name], p...)
	return len(p), nil
}

func (storing) Close() error { return nil }

// FuzzTar reads anything as what is sealed in an archive. What passes is what its manifest says.
func FuzzTar(f *testing.F) {
	files := parts(f)
	f.Add(pack(f, entries(f, files)))
	f.Add(pack(f, entries(f, files)[:3]))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, stored, err := unpacked(data)
		if err != nil {
			if crony.CodeOf(err) != crony.Invalid {
				t.Errorf("got %v", err)
			}
			return
		}
		if len(stored) > len(m.Files) {
			t.Errorf("%d files are stored, and %d in the manifest", len(stored), len(m.Files))
		}
		for _, want := range m.Files {
			sum := sha256.Sum256(stored[want.Name])
			if diff := cmp.Diff(want, file(want.Name, int64(len(stored[want.Name])), sum[:])); diff != "" {
				t.Error(diff)
			}
			if !filepath.IsLocal(want.Name) {
				t.Errorf("%q leads out of the directory", want.Name)
			}
		}
	})
}

// FuzzDocuments reads anything as an archive's header and manifest. What passes can be written, and is then read as the
// same.
func FuzzDocuments(f *testing.F) {
	for _, e := range entries(f, parts(f)) {
		if strings.HasSuffix(e.Name, ".json") {
			f.Add(e.data)
		}
	}
	f.Add([]byte(`{"format": 2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := parseHeader(data)
		again(t, h, err, headerFile, parseHeader)
		m, err := parseManifest(data)
		again(t, m, err, manifestFile, parseManifest)
	})
}

func again[T any](t *testing.T, v T, err error, name string, parse func([]byte) (T, error)) {
	t.Helper()
	if err != nil {
		if e, ok := errors.AsType[*crony.Error](err); !ok || e.Code != crony.Invalid {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	got, err := parse(document(t, name, v).data)
	if diff := cmp.Diff(v, got); err != nil || diff != "" {
		t.Errorf("%s: %v\n%s", name, err, diff)
	}
}
