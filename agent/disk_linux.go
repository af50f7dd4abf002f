package agent

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ownFD returns the path by which a process opens one of its own descriptors anew.
func ownFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// inMemory is unnamedFile where a disk has no room.
func inMemory(text string) (int, error) {
	fd, err := unix.MemfdCreate("text", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "text")
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return 0, fmt.Errorf("fill a file in memory: %w", err)
	}
	return openFD(ownFD(fd), os.O_RDONLY)
}

// punchHole gives a part of a file back to the file system.
func punchHole(fd int, from, until int64) error {
	return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, until-from)
}

// firstData returns where the first part of a file begins that was not given back; 0 if that is not known.
func firstData(fd int) int64 {
	from, err := unix.Seek(fd, 0, unix.SEEK_DATA)
	if err != nil {
		return 0
	}
	return from
}

// nextData returns the first stretch of a file, from an offset and up to an end, that is no hole. Off is end if there is none.
func nextData(file *os.File, off, end int64) (from, until int64) {
	from, err := file.Seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return end, end
	case err != nil: // the file system knows no holes
		return off, end
	}
	until, err = file.Seek(from, unix.SEEK_HOLE)
	if err != nil {
		until = end
	}
	return min(from, end), min(until, end)
}

// keepRoom has the file system keep room in a file; [errors.ErrUnsupported] if it can't.
func keepRoom(f journalFile, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// openResult opens a file that a process may have put anything into the place of. What is no file is [errNoFile], and is not
// opened.
func openResult(path string) (*os.File, error) {
	place, err := openFD(path, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	defer closeFD(place)
	var info unix.Stat_t
	if err := unix.Fstat(place, &info); err != nil {
		return nil, err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errNoFile
	}
	fd, err := openFD(ownFD(place), os.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}
