package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"crony"
)

// Verify reads an archive to its end and returns its manifest if it is whole: every byte is under age's seals, every file
// has the checksum that the manifest gives it, and each is of the kind that it should be: a keyspace with etcd's own
// checksum, days with a sound first page, an authority of the cluster, a key. It needs no disk, and memory for a few pieces
// only.
//
// Key is the recovery key ([ParseKey]). The error is Forbidden if it does not open the archive, and Invalid if the file is
// not an archive, is cut short or damaged, or was written by a newer crony.
func Verify(ctx context.Context, r io.Reader, key string) (Manifest, error) {
	return read(ctx, r, key, func(string) (io.WriteCloser, error) { return nowhere{}, nil })
}

// nowhere takes a file and forgets it.
type nowhere struct{}

// Write implements [io.Writer].
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// Close implements [io.Closer].
func (nowhere) Close() error { return nil }

// read verifies an archive, and writes each of its files to what store returns for its name.
func read(ctx context.Context, r io.Reader, key string, store func(name string) (io.WriteCloser, error)) (Manifest, error) {
	s, err := openSealed(steadyReader(ctx, r), key)
	if err != nil {
		return Manifest{}, err
	}
	defer s.close()
	a := &reader{tar: tar.NewReader(s.zstd), fault: s.fault, store: store}
	m, err := a.read()
	if err != nil {
		return Manifest{}, err
	}
	if err := s.end(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// reader is an archive's tar that is being read.
type reader struct {
	tar    *tar.Reader
	fault  func(error) error // says what an error of tar's means
	store  func(name string) (io.WriteCloser, error)
	header header
	files  []File
	buf    [64 << 10]byte
}

func (a *reader) read() (Manifest, error) {
	if err := a.first(); err != nil {
		return Manifest{}, err
	}
	for {
		entry, err := a.next()
		if err != nil {
			return Manifest{}, err
		}
		if entry.Name == manifestFile {
			return a.last(entry)
		}
		if err := a.part(entry); err != nil {
			return Manifest{}, err
		}
	}
}

func (a *reader) next() (*tar.Header, error) {
	entry, err := a.tar.Next()
	if err == io.EOF {
		return nil, a.fault(errors.New("it ends without a manifest"))
	}
	if err != nil {
		return nil, a.fault(err)
	}
	if entry.Typeflag != tar.TypeReg {
		return nil, malformed("%.80q is not a file", entry.Name)
	}
	for record := range entry.PAXRecords { // a sparse file, say, could be without end
		if record != "size" {
			return nil, malformed("%.80q has the attribute %.40q", entry.Name, record)
		}
	}
	return entry, nil
}

func (a *reader) first() error {
	entry, err := a.next()
	if err != nil {
		return err
	}
	if entry.Name != headerFile {
		return malformed("it does not begin with %s", headerFile)
	}
	data, err := a.small(entry, maxHeader)
	if err != nil {
		return err
	}
	a.header, err = parseHeader(data)
	return err
}

// small reads an entry into memory.
func (a *reader) small(entry *tar.Header, limit int64) ([]byte, error) {
	if entry.Size > limit {
		return nil, malformed("%s has %d bytes, which is more than it can need", entry.Name, entry.Size)
	}
	data, err := io.ReadAll(a.tar)
	if err != nil {
		return nil, a.fault(err)
	}
	return data, nil
}

// part reads one file.
func (a *reader) part(entry *tar.Header) error {
	if err := admit(a.files, entry.Name, entry.Size); err != nil {
		return malformed("%v", err)
	}
	out, err := a.store(entry.Name)
	if err != nil {
		return fmt.Errorf("write %s: %w", entry.Name, err)
	}
	sum, content := sha256.New(), contentOf(entry.Name, a.header.Cluster)
	if err := errors.Join(a.copy(entry.Name, io.MultiWriter(out, sum, content)), closed(out, entry.Name)); err != nil {
		return err
	}
	if err := content.end(entry.Size); err != nil {
		return malformed("%s: %v", entry.Name, err)
	}
	a.files = append(a.files, file(entry.Name, entry.Size, sum.Sum(nil)))
	return nil
}

func closed(c io.Closer, name string) error {
	if err := c.Close(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// copy writes the entry to w. It tells faults of the archive from those of w.
func (a *reader) copy(name string, w io.Writer) error {
	for {
		n, err := a.tar.Read(a.buf[:])
		if _, err := w.Write(a.buf[:n]); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return a.fault(err)
		}
	}
}

// last reads the manifest, and holds everything before against it.
func (a *reader) last(entry *tar.Header) (Manifest, error) {
	data, err := a.small(entry, maxManifest)
	if err != nil {
		return Manifest{}, err
	}
	m, err := parseManifest(data)
	if err != nil {
		return Manifest{}, err
	}
	if m.Format != a.header.Format || m.Cluster != a.header.Cluster || !m.CreatedAt.Equal(a.header.CreatedAt) {
		return Manifest{}, malformed("its beginning and its end are of two backups")
	}
	for i, f := range m.Files {
		if i >= len(a.files) || f != a.files[i] {
			return Manifest{}, malformed("%s is not as the manifest says", f.Name)
		}
	}
	if n := len(m.Files); n < len(a.files) {
		return Manifest{}, malformed("the manifest does not know %s", a.files[n].Name)
	}
	if _, err := a.tar.Next(); err != io.EOF {
		if err != nil {
			return Manifest{}, a.fault(err)
		}
		return Manifest{}, malformed("something follows the manifest")
	}
	return m, nil
}

func parseHeader(data []byte) (header, error) {
	var h header
	if err := decode(data, headerFile, &h); err != nil {
		return header{}, err
	}
	if err := (&About{Cluster: h.Cluster, CreatedAt: h.CreatedAt}).validate(); err != nil {
		return header{}, malformed("%s: %v", headerFile, err)
	}
	return h, nil
}

func parseManifest(data []byte) (Manifest, error) {
	var m Manifest
	if err := decode(data, manifestFile, &m); err != nil {
		return Manifest{}, err
	}
	if err := m.validate(); err != nil {
		return Manifest{}, malformed("%s: %v", manifestFile, err)
	}
	return m, nil
}

func (m *Manifest) validate() error {
	if err := m.About.validate(); err != nil {
		return err
	}
	if m.Revision < 0 {
		return fmt.Errorf("the keyspace can't have revision %d", m.Revision)
	}
	names := make(map[string]bool, len(m.Files))
	for _, f := range m.Files {
		if err := admit(nil, f.Name, f.Size); err != nil {
			return err
		}
		if !sum256.MatchString(f.SHA256) {
			return fmt.Errorf("%.80q is no SHA-256", f.SHA256)
		}
		if names[f.Name] {
			return fmt.Errorf("%s is in it twice", f.Name)
		}
		names[f.Name] = true
	}
	return complete(m.Files)
}

// decode reads a document of this package. Its format comes first: a newer one may have another form altogether.
func decode(data []byte, name string, v any) error {
	var f struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &f); err != nil {
		return malformed("%s: %v", name, err)
	}
	if f.Format > Format {
		return crony.Errorf(crony.Invalid, "the archive has format %d, and this crony knows none above %d", f.Format, Format).
			WithHint("use the crony that wrote it, or a newer one")
	}
	if f.Format < 1 {
		return malformed("%s: there is no format %d", name, f.Format)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return malformed("%s: %v", name, err)
	}
	return nil
}
