// Package durable puts files on disk so that they are there after the machine has lost its power.
//
// The one thing to know: syncing a file does not make its name durable. A file that was created or renamed is only there for
// good when its directory has been synced too.
package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile puts a file of exactly this mode in place at once: a reader, and a machine that lost its power, finds the old
// contents or the new. A temporary file has mode 0600 from its first moment.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return SyncDir(filepath.Dir(path))
}
