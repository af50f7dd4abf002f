package agent

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/windows"
)

// shared lets others open a file in any way, and remove it, while it is open.
const shared = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE

// openFD opens a file that is there, and returns its handle.
func openFD(path string, flags int) (int, error) {
	var access uint32
	switch {
	case flags&os.O_APPEND != 0:
		access = windows.FILE_APPEND_DATA | windows.FILE_WRITE_ATTRIBUTES | windows.SYNCHRONIZE
	case flags&os.O_WRONLY != 0:
		access = windows.GENERIC_WRITE
	case flags&os.O_RDWR != 0:
		access = windows.GENERIC_READ | windows.GENERIC_WRITE
	default:
		access = windows.GENERIC_READ
	}
	return create(path, access, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL)
}

func create(path string, access, how, attributes uint32) (int, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	handle, err := windows.CreateFile(name, access, shared, nil, how, attributes, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return int(handle), nil
}

// closeFD closes a handle of a file that was not written to by it.
func closeFD(fd int) { windows.CloseHandle(windows.Handle(fd)) } //nolint:errcheck // nothing was written through it

// setMode has nothing to do: files have no modes here.
func setMode(int, uint32) error { return nil }

// filesAhead says that an attempt's files are made when it starts: that they are there says that it may have.
const filesAhead = false

// ownFD is not asked for: only another user's process needs one.
func ownFD(int) string { return "" }

// unnamedFile returns a handle to read text from, out of a file that is gone when all who have it open have closed it.
func unnamedFile(dir, text string) (int, error) {
	f, err := os.CreateTemp(dir, "stdin-")
	if err != nil {
		return 0, err
	}
	name := f.Name()
	_, err = f.WriteString(text)
	fd := -1
	if err = errors.Join(err, f.Close()); err == nil {
		fd, err = create(name, windows.GENERIC_READ|windows.DELETE, windows.OPEN_EXISTING,
			windows.FILE_ATTRIBUTE_TEMPORARY|windows.FILE_FLAG_DELETE_ON_CLOSE)
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(name))
	}
	return fd, nil
}

// inMemory fails: there are no files in memory here.
func inMemory(string) (int, error) { return 0, syscall.ENOSPC }

// sizeOf returns the size of a file, and how much of the disk it takes: as much, as nothing of it is given back.
func sizeOf(path string) (size, disk int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	return info.Size(), info.Size(), nil
}

// inodeOf returns 0: there are none.
func inodeOf(fs.FileInfo) uint64 { return 0 }

// diskFull says whether an error is for want of room.
func diskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED) || errors.Is(err, syscall.ENOSPC)
}

// diskSize is how large a disk is, and what of it is free for the agent, in bytes.
type diskSize struct{ total, available int64 }

// diskOf returns how large the disk is that a directory is on.
func diskOf(dir string) (diskSize, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return diskSize{}, err
	}
	var available, total uint64
	if err := windows.GetDiskFreeSpaceEx(name, &available, &total, nil); err != nil {
		return diskSize{}, &os.PathError{Op: "look at the disk of", Path: dir, Err: err}
	}
	return diskSize{total: int64(total), available: int64(available)}, nil
}

// lockFile locks a file for as long as it is open, or fails at once.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
		&windows.Overlapped{})
}

// replace puts a file that was written anew in the journal's place, and returns what it is written to from then on. What is
// open can't be moved here, and nothing be put in its place.
func (j *journal) replace(file *os.File, path string) (*os.File, error) {
	err := file.Close()
	if err != nil {
		return file, err
	}
	j.file.Close() //nolint:errcheck // every write to it has succeeded or was told of
	err = os.Rename(path, j.path)
	is, opened := os.OpenFile(j.path, os.O_RDWR, 0)
	if err = errors.Join(err, opened); err != nil {
		if opened == nil {
			j.file = is
		}
		return file, err
	}
	return is, nil
}

// openResult opens a file that a process may have put anything into the place of. What is no file is [errNoFile], and is not
// opened.
func openResult(path string) (*os.File, error) {
	if err := namesFile(path); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// privateTo is who may do anything with a directory of the agent's, and what is in it: its user, the system, administrators.
const privateTo = "D:P(A;OICI;FA;;;OW)(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"

// makePrivate makes a directory that is nobody's but the agent's. Modes say nothing here, and what is made in a directory of the
// system's is for all to read.
func makePrivate(dir string) error {
	if err := os.MkdirAll(filepath.Clean(dir), 0o700); err != nil {
		return err
	}
	rights, err := windows.SecurityDescriptorFromString(privateTo)
	if err != nil {
		return &os.PathError{Op: "make private", Path: dir, Err: err}
	}
	list, _, err := rights.DACL()
	if err == nil {
		err = windows.SetNamedSecurityInfo(dir, windows.SE_FILE_OBJECT,
			windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
	}
	if err != nil {
		return &os.PathError{Op: "make private", Path: dir, Err: err}
	}
	return nil
}
