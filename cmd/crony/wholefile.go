package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"crony"
	"crony/internal/durable"
)

// wholeFile is a file that is written as a whole, or not at all.
type wholeFile struct {
	file  string
	force bool // what is there already is replaced
}

// free is an error if the file is there and is not to be replaced.
func (w *wholeFile) free() error {
	info, err := os.Lstat(w.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &crony.Error{Code: crony.Invalid, Message: err.Error(), Err: err}
	case info.IsDir():
		return crony.Errorf(crony.Invalid, "%s is a directory", w.file).WithHint("name a file in it")
	case !w.force:
		return crony.Errorf(crony.Conflict, "%s is there already", w.file).WithHint("name another file, or replace it with --force")
	}
	return nil
}

// write has fill write the file by way of a partial one, of which nothing stays if anything goes wrong.
func (w *wholeFile) write(fill func(io.Writer) error) error {
	if err := w.free(); err != nil {
		return err
	}
	f, err := openPartial(w.file + ".partial")
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = w.free() // somebody else's may have come meanwhile
	}
	if err == nil {
		err = os.Rename(f.Name(), w.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()), f.Close())
	}
	return errors.Join(f.Close(), durable.SyncDir(filepath.Dir(w.file)))
}

// openPartial opens a file to write, empty and locked. One that was left behind is nobody's; one that is locked is another
// process's.
func openPartial(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil, &crony.Error{Code: crony.Invalid, Message: err.Error(), Err: err}
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			busy := &crony.Error{Code: crony.Conflict, Message: name + " is being written by another process", Err: err,
				Hint: "wait for it, or name another file"}
			return nil, errors.Join(busy, f.Close())
		}
		still, err := isStill(f)
		if err == nil && still {
			err = f.Truncate(0)
		}
		if err == nil && still {
			return f, nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("open the partial file: %w", err)
		}
	}
}

// isStill says whether an open file has its name still: another process may have finished it, and so renamed it, before it
// was locked.
func isStill(f *os.File) (bool, error) {
	opened, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(opened, named), err
}
