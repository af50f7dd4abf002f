package member

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"

	"crony/internal/pki"
)

// Inspection is what can be seen of a member that is not running.
type Inspection struct {
	Revision int64  // of the newest change in its database
	Keys     int    // in it
	Members  []Info // of the cluster, as it knew them last

	// Term and Last are those of the newest entry in its log. Of two members' logs, the one with the higher term goes
	// further, and with the same term the one with the higher last entry.
	Term, Last uint64
	Committed  uint64 // the newest entry that it knows to be decided; what comes after it may have been decided, or not
}

// Inspect looks at a member's directory, which must not be in use, and changes nothing in it. The whole database is read, and
// for a moment there is a copy of it beside the directory.
func Inspect(path string, server pki.Identity) (seen Inspection, err error) {
	dir, err := claim(path, claimant{server: server})
	if err != nil {
		return seen, err
	}
	defer func() { err = errors.Join(err, dir.release()) }()
	log := newLog(slog.New(slog.DiscardHandler))
	status, err := launch(log, func() (snapshot.Status, error) { return snapshot.NewV3(log.zap).Status(dir.database()) })
	if err != nil {
		return seen, fmt.Errorf("look at the store's database: %w", err)
	}
	seen.Revision, seen.Keys = status.Revision, status.TotalKey
	if seen.Members, err = membersIn(dir, log); err != nil {
		return seen, fmt.Errorf("look at the store's members: %w", err)
	}
	end, err := launch(log, func() (logEnd, error) { return endOf(dir.wal(), log.zap) })
	if err != nil {
		return seen, fmt.Errorf("look at the store's log: %w", err)
	}
	seen.Term, seen.Last, seen.Committed = end.term, end.index, end.committed
	return seen, nil
}

// membersIn reads the members from a copy of a database, as to open one is to write to it.
func membersIn(dir *dataDir, log *etcdLog) (list []Info, err error) {
	aside, err := os.MkdirTemp(filepath.Dir(dir.path), filepath.Base(dir.path)+".inspecting-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(aside)) }()
	database := filepath.Join(aside, "db")
	if err := copyFile(database, dir.database()); err != nil {
		return nil, err
	}
	return launch(log, func() ([]Info, error) {
		be := backend.NewDefaultBackend(log.zap, database)
		members, _ := schema.NewMembershipBackend(log.zap, be).MustReadMembersFromBackend()
		for _, m := range members {
			list = append(list, infoOf(m))
		}
		return list, be.Close()
	})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// logEnd is where a log ends.
type logEnd struct {
	term, index uint64 // of the newest entry
	committed   uint64
}

// endOf reads a log from where etcd would begin to read it, and changes nothing.
func endOf(dir string, log *zap.Logger) (logEnd, error) {
	from, err := lastSnapshot(dir, log)
	if err != nil {
		return logEnd{}, err
	}
	w, err := wal.OpenForRead(log, dir, from)
	if err != nil {
		return logEnd{}, err
	}
	_, state, entries, err := w.ReadAll() // and closes it
	if err != nil {
		return logEnd{}, err
	}
	end := logEnd{term: from.GetTerm(), index: from.GetIndex(), committed: state.GetCommit()}
	if len(entries) > 0 {
		last := entries[len(entries)-1]
		end.term, end.index = last.GetTerm(), last.GetIndex()
	}
	return end, nil
}

func lastSnapshot(dir string, log *zap.Logger) (*walpb.Snapshot, error) {
	all, err := wal.ValidSnapshotEntries(log, dir)
	if err != nil || len(all) == 0 {
		return &walpb.Snapshot{}, err
	}
	return all[len(all)-1], nil
}

// decide marks all that is in a log as decided. By itself etcd drops what it does not know to be decided from a log that it
// forces, though others may have been told that it was: a follower hears of that only with the next message.
func decide(dir string, log *etcdLog) error {
	_, err := launch(log, func() (struct{}, error) {
		err := decideOnce(dir, log.zap)
		if errors.Is(err, io.ErrUnexpectedEOF) && wal.Repair(log.zap, dir) { // its last record was cut off
			err = decideOnce(dir, log.zap)
		}
		return struct{}{}, err
	})
	return err
}

func decideOnce(dir string, log *zap.Logger) error {
	from, err := lastSnapshot(dir, log)
	if err != nil {
		return err
	}
	w, err := wal.Open(log, dir, from)
	if err != nil {
		return err
	}
	_, state, entries, err := w.ReadAll()
	if err == nil && len(entries) > 0 {
		state.Commit = new(max(state.GetCommit(), entries[len(entries)-1].GetIndex()))
		err = w.Save(state, nil)
	}
	return errors.Join(err, w.Close())
}
