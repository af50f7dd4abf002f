//go:build !linux

package agent

import (
	"errors"
	"os"
)

// punchHole is not done here: what is delivered stays on the disk until its run has ended.
func punchHole(int, int64, int64) error { return errors.ErrUnsupported }

// firstData returns 0: nothing is given back.
func firstData(int) int64 { return 0 }

// nextData returns all of it: there are no holes.
func nextData(_ *os.File, off, end int64) (from, until int64) { return off, end }

// namesFile fails if there is nothing at a path, and with [errNoFile] if what is there is no file.
func namesFile(path string) error {
	info, err := os.Lstat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errNoFile
	}
	return err
}

// keepRoom is not done here.
func keepRoom(journalFile, int64, int64) error { return errors.ErrUnsupported }
