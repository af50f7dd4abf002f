package member

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"

	"crony"
	"crony/internal/durable"
	"crony/internal/pki"
)

// RecoverOptions say which member is to be the only one.
type RecoverOptions struct {
	Dir    string // the member's, which must not be in use
	Server pki.Identity
	Log    *slog.Logger
	Now    func() time.Time
}

// Recover makes a member of a cluster that has lost its majority for good the only one of a new store, and returns where the
// directory is kept as it was. What is in its log is applied as far as it is known to be decided; what a lost majority had
// decided and this member had not heard of is lost. As after a [Restore], the revision is far above what it was.
//
// The work is done beside the directory, on a copy: one that is cut off has changed nothing, or can be finished by doing it
// again.
func Recover(ctx context.Context, o RecoverOptions) (kept string, err error) {
	work := o.Dir + ".recovering"
	made := filepath.Join(work, "made")
	if _, err := os.Lstat(o.Dir); errors.Is(err, fs.ErrNotExist) && exists(filepath.Join(made, "owner")) {
		return "", swap(work, made, o.Dir) // it was cut off between the two renames
	}
	dir, err := claim(o.Dir, claimant{server: o.Server})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, dir.release()) }()
	if err := os.RemoveAll(work); err != nil {
		return "", fmt.Errorf("clear %s: %w", work, err)
	}
	saved, err := forced(ctx, o, work)
	if err != nil {
		return "", err
	}
	if err := Restore(ctx, RestoreOptions{Snapshot: saved, Dir: made, Server: o.Server, Log: o.Log}); err != nil {
		return "", err
	}
	kept = o.Dir + ".before-recover-" + o.Now().UTC().Format("20060102T150405Z")
	if err := os.Rename(o.Dir, kept); err != nil {
		return "", fmt.Errorf("put the old store aside: %w", err)
	}
	return kept, swap(work, made, o.Dir)
}

// swap puts a finished store in place, and clears the workplace.
func swap(work, made, dir string) error {
	if err := os.Rename(made, dir); err != nil {
		return fmt.Errorf("put the new store in place: %w", err)
	}
	if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("put the new store in place: %w", err)
	}
	return os.RemoveAll(work)
}

// forced replays a copy of the member's log with the member as the only one, and returns the file of a snapshot of that.
func forced(ctx context.Context, o RecoverOptions, work string) (file string, err error) {
	alone := filepath.Join(work, "alone")
	if err := os.MkdirAll(work, 0o700); err != nil {
		return "", fmt.Errorf("make room to work: %w", err)
	}
	if err := os.CopyFS(alone, os.DirFS(o.Dir)); err != nil {
		return "", fmt.Errorf("copy the store to %s: %w", alone, err)
	}
	m, err := Open(ctx, Options{Dir: alone, Server: o.Server, Log: o.Log, force: true})
	if err != nil {
		return "", fmt.Errorf("replay the log: %w", err)
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	file = filepath.Join(work, "snapshot.db")
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return "", fmt.Errorf("save the store: %w", err)
	}
	_, err = m.Snapshot(ctx, f)
	return file, errors.Join(err, f.Sync(), f.Close())
}

// Inspection is what can be seen of a member that is not running.
type Inspection struct {
	Revision int64  // of the newest change in its database
	Keys     int    // in it
	Members  []Info // of the cluster, as it knew them last

	Last      uint64 // the newest entry in its log
	Committed uint64 // the newest that it knows to be decided; what comes after it may have been decided, or not
}

// Inspect looks at a member's directory, which must not be in use, and changes nothing in it.
func Inspect(path string, server pki.Identity) (seen Inspection, err error) {
	dir, err := claim(path, claimant{server: server})
	if err != nil {
		return seen, err
	}
	defer func() { err = errors.Join(err, dir.release()) }()
	status, err := snapshot.NewV3(zap.NewNop()).Status(dir.database())
	if err != nil {
		return seen, fmt.Errorf("look at the store's database: %w", err)
	}
	seen.Revision, seen.Keys = status.Revision, status.TotalKey
	if seen.Members, err = membersIn(dir.database()); err != nil {
		return seen, err
	}
	log, err := wal.OpenForRead(zap.NewNop(), dir.wal(), &walpb.Snapshot{})
	if err != nil {
		return seen, fmt.Errorf("look at the store's log: %w", err)
	}
	defer log.Close() //nolint:errcheck // it was only read
	_, hard, entries, err := log.ReadAll()
	if err != nil && !errors.Is(err, wal.ErrSnapshotNotFound) {
		return seen, fmt.Errorf("look at the store's log: %w", err)
	}
	seen.Committed = hard.GetCommit()
	seen.Last = seen.Committed
	if len(entries) > 0 {
		seen.Last = max(seen.Last, entries[len(entries)-1].GetIndex())
	}
	return seen, nil
}

// membersIn reads the members from a copy of a database, as to open one is to write to it.
func membersIn(database string) (list []Info, err error) {
	dir, err := os.MkdirTemp("", "crony-inspect-*")
	if err != nil {
		return nil, fmt.Errorf("look at the members: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.CopyFS(filepath.Join(dir, "snap"), os.DirFS(filepath.Dir(database))); err != nil {
		return nil, fmt.Errorf("look at the members: %w", err)
	}
	defer func() {
		if r := recover(); r != nil { // that is how etcd tells of a damaged one
			err = crony.Errorf(crony.Internal, "the store's database can't be read: %v", r)
		}
	}()
	be := backend.NewDefaultBackend(zap.NewNop(), filepath.Join(dir, "snap", filepath.Base(database)))
	defer be.Close() //nolint:errcheck // it is a copy
	members, _ := schema.NewMembershipBackend(zap.NewNop(), be).MustReadMembersFromBackend()
	for _, m := range members {
		list = append(list, infoOf(m))
	}
	return list, nil
}
