package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"crony"
	"crony/internal/durable"
)

// Extract verifies an archive as [Verify] does, and writes its files, under the names that they have in it, into dir, which
// must be empty or missing; its parent must exist. Files have mode 0600 and directories 0700; when Extract returns, all is
// on disk. On an error nothing is left of it. Beside Verify's errors there is Conflict for a directory that is in use.
func Extract(ctx context.Context, r io.Reader, key, dir string) (Manifest, error) {
	made, err := emptyDir(dir)
	if err != nil {
		return Manifest{}, err
	}
	e := &extraction{dir: dir, made: made}
	m, err := e.extract(ctx, r, key)
	if err != nil {
		return Manifest{}, errors.Join(err, e.undo())
	}
	return m, nil
}

// emptyDir makes a directory, or finds it empty.
func emptyDir(dir string) (made bool, err error) {
	err = os.Mkdir(dir, 0o700)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return false, fmt.Errorf("make a directory for the backup: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("open the directory for the backup: %w", err)
	}
	if len(entries) > 0 {
		return false, crony.Errorf(crony.Conflict, "%s is not empty", dir).WithHint("name a directory that does not exist yet")
	}
	return false, nil
}

// extraction is a directory that is being filled.
type extraction struct {
	dir  string
	made bool     // the directory itself
	dirs []string // in it, as they were made
	top  []string // of what was made, what stands in the directory itself
}

func (e *extraction) extract(ctx context.Context, r io.Reader, key string) (_ Manifest, err error) {
	root, err := os.OpenRoot(e.dir) // whatever the names, nothing is written beside it
	if err != nil {
		return Manifest{}, fmt.Errorf("open the directory for the backup: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	m, err := read(ctx, r, key, func(name string) (io.WriteCloser, error) { return e.create(root, name) })
	if err != nil {
		return Manifest{}, err
	}
	for _, dir := range append(slices.Clone(e.dirs), ".", "..") {
		if err := durable.SyncDir(filepath.Join(e.dir, dir)); err != nil {
			return Manifest{}, fmt.Errorf("write the backup's files: %w", err)
		}
	}
	return m, nil
}

func (e *extraction) create(root *os.Root, name string) (io.WriteCloser, error) {
	dir := path.Dir(name)
	if dir != "." && !slices.Contains(e.dirs, dir) {
		if err := root.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		e.dirs = append(e.dirs, dir)
		e.top = append(e.top, dir)
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if dir == "." {
		e.top = append(e.top, name)
	}
	return syncedFile{f}, nil
}

// syncedFile is on disk when it is closed.
type syncedFile struct{ *os.File }

// Close implements [io.Closer].
func (f syncedFile) Close() error { return errors.Join(f.Sync(), f.File.Close()) }

// undo removes what was made.
func (e *extraction) undo() error {
	if e.made {
		return os.RemoveAll(e.dir)
	}
	var errs []error
	for _, name := range e.top {
		errs = append(errs, os.RemoveAll(filepath.Join(e.dir, name)))
	}
	return errors.Join(errs...)
}
