package agent

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ownFD returns the path by which a process opens one of its own descriptors: the same one, as dup(2) makes it.
func ownFD(fd int) string { return "/dev/fd/" + strconv.Itoa(fd) }

// inMemory is unnamedFile where a disk has no room, or its directory is another's: macOS has no files in memory, and the one for
// temporary files may be on another disk.
func inMemory(text string) (int, error) {
	f, err := os.CreateTemp("", "crony-")
	if err != nil {
		return 0, fmt.Errorf("make a temporary file: %w", err)
	}
	_, err = f.WriteString(text)
	fd := -1
	if err = errors.Join(err, f.Close()); err == nil {
		fd, err = openFD(f.Name(), os.O_RDONLY)
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return 0, fmt.Errorf("fill a temporary file: %w", err)
	}
	return fd, nil
}

// openResult opens a file that a process may have put anything into the place of. What is no file is [errNoFile], and is not
// opened, unless it takes the file's place at that very moment.
func openResult(path string) (*os.File, error) {
	if err := namesFile(path); err != nil {
		return nil, err
	}
	fd, err := openFD(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}
