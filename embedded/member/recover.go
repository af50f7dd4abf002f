package member

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"crony/internal/durable"
	"crony/internal/pki"
)

// RecoverOptions say which member is to be the only one.
type RecoverOptions struct {
	Dir    string // the member's, which must not be in use
	Server pki.Identity
	Log    *slog.Logger
	Now    func() time.Time

	reached func(step) error // cuts the work off after a step, in tests
}

// step is a step of a recovery, by what has been done when it is over.
type step string

const (
	copied   step = "copied"    // the member's files
	replayed step = "replayed"  // the log, on the copy
	restored step = "restored"  // the new store is made
	aside    step = "put aside" // the store of before; there is none now
)

// Recover makes a member of a cluster that has lost its majority for good the only one of a new store, and returns where the
// directory is kept as it was. All that is in its log is taken as decided: some of that may not have been, but nobody was told
// that it was not. What the lost majority had decided and this member had not heard of is lost; of several survivors the one to
// recover is the one whose log goes furthest ([Inspect]). As after a [Restore], the revision is far above what it was.
//
// The work is done beside the directory, on a copy: one that is cut off has changed nothing, or can be finished by doing it
// again.
func Recover(ctx context.Context, o RecoverOptions) (kept string, err error) {
	if _, err := os.Lstat(o.Dir); errors.Is(err, fs.ErrNotExist) && exists(filepath.Join(o.made(), "owner")) {
		return o.lastKept(), o.swap() // it was cut off between the two renames
	}
	dir, err := claim(o.Dir, claimant{server: o.Server})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, dir.release()) }()
	if err := os.RemoveAll(workplace(o.Dir)); err != nil {
		return "", fmt.Errorf("clear away what was begun before: %w", err)
	}
	database, err := o.replay(ctx)
	if err != nil {
		return "", fmt.Errorf("replay the store's log: %w", err)
	}
	if err := restore(ctx, RestoreOptions{Snapshot: database, Dir: o.made(), Server: o.Server, Log: o.Log}, true); err != nil {
		return "", err
	}
	if err := o.done(restored); err != nil {
		return "", err
	}
	kept = o.Dir + keptInfix + o.Now().UTC().Format("20060102T150405Z")
	if err := os.Rename(o.Dir, kept); err != nil {
		return "", fmt.Errorf("put the old store aside: %w", err)
	}
	if err := o.done(aside); err != nil {
		return "", err
	}
	return kept, o.swap()
}

const keptInfix = ".before-recover-"

// workplace is where a member's directory is recovered. It is beside it, so that what is made there can be put in its place.
func workplace(dir string) string { return dir + ".recovering" }

func (o *RecoverOptions) made() string { return filepath.Join(workplace(o.Dir), "made") }

func (o *RecoverOptions) done(s step) error {
	if o.reached == nil {
		return nil
	}
	return o.reached(s)
}

// lastKept returns the directory that was put aside last.
func (o *RecoverOptions) lastKept() string {
	all, err := filepath.Glob(o.Dir + keptInfix + "*")
	if err != nil || len(all) == 0 {
		return ""
	}
	return slices.Max(all)
}

// swap puts a finished store in place, and clears the workplace.
func (o *RecoverOptions) swap() error {
	if err := os.Rename(o.made(), o.Dir); err != nil {
		return fmt.Errorf("put the new store in place: %w", err)
	}
	if err := durable.SyncDir(filepath.Dir(o.Dir)); err != nil {
		return fmt.Errorf("put the new store in place: %w", err)
	}
	return os.RemoveAll(workplace(o.Dir))
}

// replay opens a copy of the member as the only one, so that its database takes in all of its log, and returns the database.
func (o *RecoverOptions) replay(ctx context.Context) (string, error) {
	alone := filepath.Join(workplace(o.Dir), "alone")
	if err := os.MkdirAll(workplace(o.Dir), 0o700); err != nil {
		return "", err
	}
	if err := os.CopyFS(alone, os.DirFS(o.Dir)); err != nil {
		return "", err
	}
	files := dataDir{path: alone}
	if err := decide(files.wal(), newLog(o.Log)); err != nil { //nolint:contextcheck // what etcd logs belongs to no request
		return "", err
	}
	if err := o.done(copied); err != nil {
		return "", err
	}
	m, err := Open(ctx, Options{Dir: alone, Server: o.Server, Log: o.Log, force: true})
	if err != nil {
		return "", err
	}
	if err := m.Close(); err != nil {
		return "", err
	}
	return files.database(), o.done(replayed)
}
