package member

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"go.etcd.io/etcd/server/v3/storage/wal"

	"crony"
	"crony/internal/durable"
	"crony/internal/pki"
)

// dataDir is a member's directory in use:
//
//	DIR/owner           the identity of the server whose it is; locked as long as it is in use
//	DIR/token           tells this cluster's history from those that were before a restore; without it, the cluster's id does
//	DIR/unfinished      there until a new member has opened for the first time; says "join" if it joins a cluster
//	DIR/removed         there once the member has heard, from others too, that the cluster has removed it
//	DIR/member/wal      etcd's log; without it there is no member
//	DIR/member/snap/db  etcd's database; etcd waits for its lock forever, so it is tried here first
//
// A first member that is cut off in its first moments has a log that lacks the beginning, and would wait for a leader forever.
// As nothing was promised yet, an unfinished one is begun again from nothing. One that joins has promised to keep what it has
// in its log: with a log, it goes on.
//
// See [Recover] for DIR.recovering and DIR.before-recover-*, which are beside it.
type dataDir struct {
	path  string
	owner *os.File
	token string
	fresh bool // there is no member in it yet
}

// claimant says who wants a directory, and for what if it is vacant.
type claimant struct {
	server pki.Identity
	create bool   // a new member is to be made
	join   bool   // it joins a cluster, that of the token
	token  string // "" for the cluster's id
}

// finish says, once it is on disk, that the directory holds a member.
func (d *dataDir) finish() error {
	err := os.Remove(d.unfinished())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = durable.SyncDir(d.path)
	}
	if err != nil {
		return fmt.Errorf("finish data directory: %w", err)
	}
	return nil
}

func (d *dataDir) unfinished() string { return filepath.Join(d.path, "unfinished") }

func (d *dataDir) member() string   { return filepath.Join(d.path, "member") }
func (d *dataDir) wal() string      { return filepath.Join(d.member(), "wal") }
func (d *dataDir) database() string { return filepath.Join(d.member(), "snap", "db") }

// leave releases the directory of a member. One that was removed may have it from the others alone, as its own log need not have
// come so far, and they may be gone when it starts again.
func (d *dataDir) leave(removed bool) error {
	var err error
	if removed {
		err = durable.WriteFile(d.removedFile(), nil, 0o600)
	}
	return errors.Join(err, d.release())
}

func (d *dataDir) removedFile() string { return filepath.Join(d.path, "removed") }

func (d *dataDir) release() error {
	if err := d.owner.Close(); err != nil { // which unlocks it
		return fmt.Errorf("unlock data directory: %w", err)
	}
	return nil
}

func (d *dataDir) tokenFile() string { return filepath.Join(d.path, "token") }

// claim locks the directory for a server. Without a member in it, it is made ready for one if create is set, else refused.
func claim(path string, who claimant) (*dataDir, error) {
	if err := ensure(path, who.create); err != nil {
		return nil, err
	}
	owner, err := os.OpenFile(filepath.Join(path, "owner"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	d := &dataDir{path: path, owner: owner}
	if err := d.inspect(who); err != nil {
		return nil, errors.Join(err, owner.Close())
	}
	return d, nil
}

// ensure makes a directory that may be used, or refuses it before anything is changed in it.
func ensure(path string, create bool) error {
	if create {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("make data directory: %w", err)
		}
	}
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return noMember(path)
	case err != nil:
		return fmt.Errorf("open data directory: %w", err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	delete(names, "lost+found") // of a file system of its own
	switch {
	case names["owner"]:
	case len(names) > 0:
		return crony.Errorf(crony.Conflict, "%s is not a data directory of crony, and not empty", path).
			WithHint("give another directory")
	case !create:
		return noMember(path)
	}
	return private(path)
}

func private(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm() != 0o700 {
		err = os.Chmod(path, 0o700)
	}
	if err != nil {
		return fmt.Errorf("close data directory to others: %w", err)
	}
	return nil
}

// inspect locks the owner file, compares what it and the directory say with what is wanted, and begins a new member if it
// may.
func (d *dataDir) inspect(who claimant) error {
	if err := lock(d.owner); err != nil {
		return inUse(d.path, err)
	}
	whose, err := d.whose()
	if err != nil {
		return err
	}
	vacant := d.vacant(whose)
	switch {
	case vacant && !who.create:
		return noMember(d.path)
	case vacant:
		return d.begin(who)
	case whose != who.server.String():
		return crony.Errorf(crony.Conflict, "%s belongs to %q, not to %s", d.path, whose, who.server).
			WithHint("give another directory")
	case !wal.Exist(d.wal()):
		return crony.Errorf(crony.NotFound, "%s has lost the data of %s", d.path, who.server).
			WithHint("join the cluster anew with another directory, or restore a backup")
	}
	if err := d.readToken(who.server); err != nil {
		return err
	}
	return tryDatabase(d.path, d.database())
}

func (d *dataDir) whose() (string, error) {
	text, err := io.ReadAll(d.owner)
	if err != nil {
		return "", fmt.Errorf("read whose data directory it is: %w", err)
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}

// vacant tells if there is no member that has promised anything.
func (d *dataDir) vacant(whose string) bool {
	mark, err := os.ReadFile(d.unfinished())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return whose == "" && !exists(d.member())
	case err == nil && string(mark) == joining:
		return !wal.Exist(d.wal())
	}
	return true
}

// joining is what the unfinished file says of a member that joins a cluster.
const joining = "join\n"

func (d *dataDir) readToken(server pki.Identity) error {
	text, err := os.ReadFile(d.tokenFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the store's token: %w", err)
	}
	d.token = cmp.Or(strings.TrimSpace(string(text)), server.Cluster)
	return nil
}

// begin makes the directory ready for a new member.
func (d *dataDir) begin(who claimant) error {
	mark := ""
	if who.join {
		mark = joining
	}
	if err := d.vacate(mark); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if who.token != "" {
		if err := durable.WriteFile(d.tokenFile(), []byte(who.token+"\n"), 0o600); err != nil {
			return fmt.Errorf("write the store's token: %w", err)
		}
	}
	text := who.server.String() + "\n"
	_, err := d.owner.WriteAt([]byte(text), 0)
	err = errors.Join(err, d.owner.Truncate(int64(len(text))), d.owner.Sync())
	if err != nil {
		return fmt.Errorf("write whose data directory it is: %w", err)
	}
	d.fresh, d.token = true, cmp.Or(who.token, who.server.Cluster)
	return nil
}

// vacate marks the directory as unfinished, on disk, before it removes what is in it.
func (d *dataDir) vacate(mark string) error {
	err := durable.WriteFile(d.unfinished(), []byte(mark), 0o600)
	if err := errors.Join(err, durable.SyncDir(filepath.Dir(d.path))); err != nil {
		return err
	}
	for _, path := range []string{d.member(), d.tokenFile()} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}

// tryDatabase looks whether a program that doesn't know the owner file, such as one of etcd's own, has the database open.
func tryDatabase(path, database string) error {
	f, err := os.OpenFile(database, os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // etcd knows whether it can do without
	case err != nil:
		return fmt.Errorf("open data directory: %w", err)
	}
	if err := lock(f); err != nil {
		return errors.Join(inUse(path, err), f.Close())
	}
	return f.Close()
}

func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

func inUse(path string, err error) error {
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock data directory %s: %w", path, err)
	}
	return crony.Errorf(crony.Conflict, "another crony is using %s", path).
		WithHint("stop it first, or give this one its own directory")
}

func noMember(path string) error {
	if exists(filepath.Join(workplace(path), "made", "owner")) {
		return crony.Errorf(crony.NotFound, "the recovery of %s was cut off before its last step", path).
			WithHint("run `crony cluster recover --yes` once more")
	}
	return crony.Errorf(crony.NotFound, "%s holds no data of a server", path).
		WithHint("if the disk was lost, join the cluster anew or restore a backup; a new cluster is made only when asked for")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
