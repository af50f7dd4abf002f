package member

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"

	"crony"
	"crony/internal/durable"
	"crony/internal/pki"
)

// RestoreOptions say which store to make.
type RestoreOptions struct {
	Snapshot string       // the file that [Member.Snapshot] wrote
	Dir      string       // the member's; there must be nothing in it, and it need not be there
	Server   pki.Identity // whose member it will be
	Log      *slog.Logger
}

// revisionBump is by how much a store's revision is raised when it is restored: by more than what can have been written since
// the snapshot was taken. So revisions, and the epochs that they are, never come twice.
const revisionBump = 1_000_000_000

// Restore makes the only member of a new store of a snapshot. Its revision is far above the snapshot's, and all before it is
// forgotten, so that nobody goes on watching from what was. A restore that is cut off leaves a directory that is no member's.
// The error is a [crony.Error] where a person can do something about it: Conflict if there is something in Dir, Invalid if the
// file is no snapshot or is damaged.
func Restore(ctx context.Context, o RestoreOptions) error {
	return restore(ctx, o, false)
}

// restore is Restore. Bare takes a database as etcd itself has it, which bears no checksum.
func restore(ctx context.Context, o RestoreOptions, bare bool) error {
	if err := o.validate(); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("restore the store: %w", err)
	}
	token := o.Server.Cluster + "-" + strings.ToLower(rand.Text()[:8])
	if err := o.unpack(token, bare); err != nil { //nolint:contextcheck // what etcd logs belongs to no request
		return errors.Join(err, os.RemoveAll(filepath.Join(o.Dir, "member")))
	}
	if err := o.settle(token); err != nil {
		return fmt.Errorf("restore the store: %w", err)
	}
	return nil
}

func (o *RestoreOptions) validate() error {
	if err := o.Server.Validate(); err != nil {
		return &crony.Error{Code: crony.Invalid, Message: "the store can't be restored: " + err.Error(), Err: err}
	}
	entries, err := os.ReadDir(o.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("restore the store: %w", err)
	case len(entries) > 0:
		return crony.Errorf(crony.Conflict, "%s is not empty: a store is never restored over another", o.Dir).
			WithHint("give another directory, or move away what is in this one")
	}
	f, err := os.Open(o.Snapshot)
	if err != nil {
		return fmt.Errorf("restore the store: %w", err)
	}
	return f.Close()
}

// unpack makes etcd's files. What etcd says against a snapshot is a person's to know.
func (o *RestoreOptions) unpack(token string, bare bool) error {
	peer := "https://" + nowhere
	log := newLog(o.Log)
	_, err := launch(log, func() (struct{}, error) {
		return struct{}{}, snapshot.NewV3(log.zap).Restore(snapshot.RestoreConfig{
			SnapshotPath: o.Snapshot, SkipHashCheck: bare, Name: o.Server.ID, OutputDataDir: o.Dir, PeerURLs: []string{peer},
			InitialCluster: o.Server.ID + "=" + peer, InitialClusterToken: token, RevisionBump: revisionBump, MarkCompacted: true,
		})
	})
	if elsewhere, ok := errors.AsType[*fs.PathError](err); err == nil || ok && elsewhere.Path != o.Snapshot {
		return err
	}
	return &crony.Error{Code: crony.Invalid, Message: o.Snapshot + " is no snapshot of a store, or is damaged: " + err.Error(),
		Err: err, Hint: "take another backup"}
}

// settle makes the directory a member's, after all that etcd wrote is on disk.
func (o *RestoreOptions) settle(token string) error {
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"member/snap", "member/wal", "member"} {
		if err := durable.SyncDir(filepath.Join(o.Dir, name)); err != nil {
			return err
		}
	}
	for _, f := range []struct{ name, text string }{{"token", token}, {"owner", o.Server.String()}} {
		if err := durable.WriteFile(filepath.Join(o.Dir, f.name), []byte(f.text+"\n"), 0o600); err != nil {
			return err
		}
	}
	return durable.SyncDir(filepath.Dir(o.Dir))
}
