package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"crony"
)

// window is how far back, in bytes, the compression looks. Readers hold as much in memory; they take up to maxWindow.
const (
	window    = 1 << 20
	maxWindow = 8 << 20
)

// Write writes an archive to w, sealed for the recipients ([ParseRecipient]). Parts is called once, to put the files in, and
// returns the revision of the keyspace's snapshot. What is written before an error is no archive, and no reader takes it for
// one.
//
// The keyspace is to be snapshot first and the run log after it: what moves from the one into the other meanwhile is then in
// both, where it does no harm, and not in neither.
//
// The error is Invalid for recipients that are missing or wrong, else what parts, w or ctx say.
func Write(
	ctx context.Context, w io.Writer, recipients []string, about About, parts func(Put) (revision int64, err error),
) error {
	sealFor, err := parseRecipients(recipients)
	if err != nil {
		return err
	}
	about.CreatedAt = about.CreatedAt.UTC().Truncate(time.Second)
	if err := about.validate(); err != nil {
		return crony.Errorf(crony.Invalid, "the archive can't be written: %v", err)
	}
	if err := write(steadyWriter(ctx, w), sealFor, about, parts); err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	return nil
}

func write(w io.Writer, recipients []age.Recipient, about About, parts func(Put) (int64, error)) error {
	sealed, err := age.Encrypt(w, recipients...)
	if err != nil {
		return err
	}
	// One goroutine, this one: a server has better things to do with its others than a backup.
	packed, err := zstd.NewWriter(sealed, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	a := &writer{tar: tar.NewWriter(packed), at: about.CreatedAt}
	if err := a.document(headerFile, header{Format, about.Cluster, about.CreatedAt}); err != nil {
		return err
	}
	revision, err := parts(a.put)
	if err = errors.Join(err, a.broken); err != nil {
		return err
	}
	if err := complete(a.files); err != nil {
		return err
	}
	if err := a.document(manifestFile, Manifest{Format, about, revision, a.files}); err != nil {
		return err
	}
	for _, layer := range []io.Closer{a.tar, packed, sealed} { // in this order; after an error, the end is left open
		if err := layer.Close(); err != nil {
			return err
		}
	}
	return nil
}

// writer is an archive that is being written.
type writer struct {
	tar    *tar.Writer
	at     time.Time
	files  []File
	broken error // why a put did not succeed: nothing may come after that
}

func (a *writer) document(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := a.entry(name, int64(len(data))); err != nil {
		return err
	}
	_, err = a.tar.Write(data)
	return err
}

func (a *writer) entry(name string, size int64) error {
	return a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: a.at})
}

// put is the archive's [Put].
func (a *writer) put(name string, size int64, write func(io.Writer) error) error {
	if a.broken == nil {
		a.broken = a.add(name, size, write)
	}
	return a.broken
}

func (a *writer) add(name string, size int64, write func(io.Writer) error) error {
	if err := admit(a.files, name, size); err != nil {
		return err
	}
	if err := a.entry(name, size); err != nil {
		return err
	}
	sum := sha256.New()
	if err := write(io.MultiWriter(a.tar, sum)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := a.tar.Flush(); err != nil { // which is an error if there were fewer bytes than announced
		return fmt.Errorf("%s: %w", name, err)
	}
	a.files = append(a.files, file(name, size, sum.Sum(nil)))
	return nil
}

// Spooled puts a file whose size is not known before it is written: it is written to disk first, into a file in dir that has
// no name any more and is gone when Spooled returns.
func (p Put) Spooled(dir, name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(dir, ".backup-*")
	if err != nil {
		return fmt.Errorf("put %s aside: %w", name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := os.Remove(f.Name()); err != nil {
		return fmt.Errorf("put %s aside: %w", name, err)
	}
	if err := write(f); err != nil {
		return fmt.Errorf("put %s aside: %w", name, err)
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("put %s aside: %w", name, err)
	}
	return p(name, size, func(w io.Writer) error {
		_, err := io.Copy(w, io.NewSectionReader(f, 0, size))
		return err
	})
}
