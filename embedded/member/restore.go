package member

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/etcdutl/v3/snapshot"

	"crony/internal/durable"
	"crony/internal/pki"
)

// RestoreOptions say which store to make.
type RestoreOptions struct {
	Snapshot string       // the file that [Member.Snapshot] wrote
	Dir      string       // must not be there
	Server   pki.Identity // whose member it will be
	Log      *slog.Logger
}

// revisionBump is by how much a store's revision is raised when it is restored: by more than what can have been written since
// the snapshot was taken. So revisions, and the epochs that they are, never come twice.
const revisionBump = 1_000_000_000

// Restore makes the only member of a new store of a snapshot. Its revision is far above the snapshot's, so that nobody goes
// on watching from what was. A restore that is cut off leaves a directory that is no member's.
func Restore(_ context.Context, o RestoreOptions) error {
	if err := o.Server.Validate(); err != nil {
		return err
	}
	token := o.Server.Cluster + "-" + strings.ToLower(rand.Text()[:8])
	peer := "https://" + nowhere
	log := newLog(o.Log) //nolint:contextcheck // what etcd logs belongs to no request
	err := snapshot.NewV3(log.zap).Restore(snapshot.RestoreConfig{
		SnapshotPath: o.Snapshot, Name: o.Server.ID, OutputDataDir: o.Dir, PeerURLs: []string{peer},
		InitialCluster: o.Server.ID + "=" + peer, InitialClusterToken: token, RevisionBump: revisionBump, MarkCompacted: true})
	if err != nil {
		return fmt.Errorf("restore the store from %s: %w", o.Snapshot, err)
	}
	if err := os.Chmod(o.Dir, 0o700); err != nil {
		return fmt.Errorf("restore the store: %w", err)
	}
	for _, f := range []struct{ name, text string }{{"token", token}, {"owner", o.Server.String()}} {
		if err := durable.WriteFile(filepath.Join(o.Dir, f.name), []byte(f.text+"\n"), 0o600); err != nil {
			return fmt.Errorf("restore the store: %w", err)
		}
	}
	return nil
}
