package appliance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"crony"
	"crony/internal/durable"
)

// stageName is the directory, inside of the one that is to become a server's, in which everything is made ready. Beside it
// would not do: the directory may be a file system of its own, or its parent somebody else's.
const stageName = ".restoring"

// archiveDir is where, in the stage, the backup's files are.
const archiveDir = "archive"

// settled are the parts of a server's directory, in the order in which they come to their places. A directory without the
// last holds no server, so that the server is there all at once.
func settled() []string { return []string{runsDir, pkiDir, clientFile, etcdDir, serverFile} }

// site is a directory in which a server is being restored.
type site struct {
	dir  string
	made bool     // the directory itself
	lock *os.File // the directory: locked, so that nobody else restores into it
}

// openSite makes the directory, or finds it empty. What a restore that was cut off has left in it is removed.
func openSite(dir string) (_ *site, err error) {
	s := &site{dir: dir}
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		s.made = true
	case !errors.Is(err, fs.ErrExist):
		return nil, err
	}
	if s.lock, err = os.Open(dir); err != nil {
		return nil, err
	}
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

func (s *site) begin() error {
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return &crony.Error{Code: crony.Conflict, Message: fmt.Sprintf("somebody else restores into %s", s.dir), Err: err}
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "lost+found" { // of a file system of its own
			names = append(names, e.Name())
		}
	}
	if len(names) > 0 && !unfinished(names) {
		return crony.Errorf(crony.Conflict, "%s is not empty", s.dir).
			WithHint("a backup is restored into a new directory; move away what is there if it is not needed")
	}
	if err := s.clear(); err != nil {
		return err
	}
	if err := os.Mkdir(s.stage(), 0o700); err != nil {
		return err
	}
	return os.Chmod(s.dir, 0o700)
}

// unfinished says whether a directory holds what a restore that was cut off has left, and nothing else.
func unfinished(names []string) bool {
	known := append(settled(), stageName)
	return slices.Contains(names, stageName) && !slices.Contains(names, serverFile) &&
		!slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(known, name) })
}

// stage returns a path under the stage.
func (s *site) stage(names ...string) string {
	return filepath.Join(append([]string{s.dir, stageName}, names...)...)
}

// settle moves everything from the stage to its place.
func (s *site) settle() error {
	if err := s.give(); err != nil {
		return fmt.Errorf("give what is restored to the directory's owner: %w", err)
	}
	for _, name := range settled() {
		if err := s.place(name); err != nil {
			return fmt.Errorf("put what is restored into its place: %w", err)
		}
	}
	return os.Remove(s.stage())
}

// place moves one part, and returns when it is there for good.
func (s *site) place(name string) error {
	if err := move(s.stage(), s.dir, name); err != nil {
		return err
	}
	return durable.SyncDir(s.dir)
}

// give makes what root has restored the directory's owner's, under whom the server will run.
func (s *site) give() error {
	info, err := s.lock.Stat()
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return filepath.WalkDir(s.stage(), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}

// clear removes all that restoring makes; the stage last, as it is what says that the rest is only that.
func (s *site) clear() error {
	for _, name := range append(settled(), stageName) {
		if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// abandon leaves the directory as it was found.
func (s *site) abandon() error {
	err := s.clear()
	if s.made {
		err = errors.Join(err, os.Remove(s.dir))
	}
	return errors.Join(err, s.close())
}

func (s *site) close() error { return s.lock.Close() }
