//go:build unix

package agent

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openFD opens a file that is there, and returns its descriptor. Unlike an [os.File] it tells Go's poller nothing, which is
// half of the work for a file that is closed again at once.
func openFD(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
}

// closeFD closes a descriptor of a file that was not written to by it.
func closeFD(fd int) { unix.Close(fd) } //nolint:errcheck // nothing was written through it

// setMode sets the mode of an open file.
func setMode(fd int, mode uint32) error { return unix.Fchmod(fd, mode) }

// filesAhead says that an attempt's files may be made before it starts, as their modes say whether it has.
const filesAhead = true

// unnamedFile returns a descriptor to read text from, out of a file that is gone when it is closed. A pipe would need
// somebody to fill it.
func unnamedFile(dir, text string) (int, error) {
	f, err := os.CreateTemp(dir, "stdin-")
	if diskFull(err) {
		return inMemory(text)
	}
	if err != nil {
		return 0, err
	}
	_, err = f.WriteString(text)
	fd := -1
	if err = errors.Join(err, f.Close()); err == nil {
		fd, err = openFD(f.Name(), os.O_RDONLY)
	}
	removed := os.Remove(f.Name())
	if diskFull(err) {
		return inMemory(text)
	}
	return fd, errors.Join(err, removed)
}

// sizeOf returns the size of a file, and how much of the disk it takes.
func sizeOf(path string) (size, disk int64, err error) {
	var info unix.Stat_t
	if err := unix.Stat(path, &info); err != nil {
		return 0, 0, err
	}
	return info.Size, info.Blocks * 512, nil // see stat(2)
}

// inodeOf returns what tells a file from another that takes its place.
func inodeOf(info fs.FileInfo) uint64 {
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		return sys.Ino
	}
	return 0
}

// diskFull says whether an error is for want of room, of the disk or of a quota.
func diskFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// diskSize is how large a disk is, and what of it is free for the agent, in bytes.
type diskSize struct{ total, available int64 }

// diskOf returns how large the disk is that a directory is on.
func diskOf(dir string) (diskSize, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return diskSize{}, err
	}
	block := int64(fs.Bsize) //nolint:unconvert // its type is the platform's
	return diskSize{total: int64(fs.Blocks) * block, available: int64(fs.Bavail) * block}, nil
}

// lockFile locks a file for as long as it is open, or fails at once.
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

// replace puts a file that was written anew in the journal's place, and returns what it is written to from then on.
func (j *journal) replace(file *os.File, path string) (*os.File, error) {
	return file, os.Rename(path, j.path)
}

// makePrivate makes a directory that is nobody's but the agent's.
func makePrivate(dir string) error { return os.MkdirAll(dir, 0o700) }
