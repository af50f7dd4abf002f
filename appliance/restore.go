package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"crony"
	"crony/appliance/backup"
	"crony/embedded/member"
	"crony/embedded/runlog"
	"crony/embedded/state"
	"crony/internal/pki"
)

// RestoreOptions say how a cluster begins again from a backup.
type RestoreOptions struct {
	Archive io.Reader // a backup of the cluster
	Key     string    // the recovery key, which opens it
	Dir     string    // of the server's data: empty or missing; its parent must exist
	Name    string    // of the server, for people
	People  string    // URL of the server, for people; "" writes no file for the command line, and makes no link
	Log     *slog.Logger
	Now     func() time.Time // the wall clock; time.Now if nil
}

// Restored is a cluster that begins again.
type Restored struct {
	backup.Manifest        // of the backup
	Link            string // signs in once, as an admin
	ClientFile      string // for the command line
}

// Restore makes, from a backup, the data of a server that is the only one of the cluster. The server is a new one, with an
// id of its own, and is not running yet. The cluster's id and its authority are those of before, so that agents trust the
// server, and are trusted by it; they come back by themselves if they can reach it under an address that they know.
//
// Everything is as it was when the backup was made, with what that means: what was removed since then is back, agents and
// API tokens too. Sessions, one-time links and join tokens are not restored. Servers of before must not be started again:
// they would be another cluster of the same name.
//
// If Restore is cut off at whatever point, the directory either holds no server, and Restore can be called again, or the
// whole of it. On an error nothing is left. What is restored belongs to whom the directory belongs, if root restores it.
//
// The error is Conflict for a directory that is in use, and otherwise as [backup.Extract] has it.
func Restore(ctx context.Context, opts RestoreOptions) (Restored, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s, err := openSite(opts.Dir)
	if err != nil {
		return Restored{}, fmt.Errorf("restore into %s: %w", opts.Dir, err)
	}
	r := &restoration{opts: opts, site: s}
	err = r.build(ctx)
	if err == nil {
		err = s.settle()
	}
	if err != nil {
		return Restored{}, errors.Join(err, s.abandon())
	}
	return r.made, s.close()
}

// restoration makes a server's data of a backup, under its site's stage.
type restoration struct {
	opts RestoreOptions
	site *site
	made Restored
}

func (r *restoration) build(ctx context.Context) (err error) {
	stage, archive := r.site.stage(), r.site.stage(archiveDir)
	if r.made.Manifest, err = backup.Extract(ctx, r.opts.Archive, r.opts.Key, archive); err != nil {
		return err
	}
	r.opts.Log.Info("backup read", "cluster", r.made.Cluster, "made", r.made.CreatedAt, "size", r.made.Size().String())
	if err := errors.Join(move(archive, stage, pkiDir), move(archive, stage, runsDir)); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	who := pki.Identity{Cluster: r.made.Cluster, Role: pki.Server, ID: newID()}
	authority, err := r.keyspace(ctx, who)
	if err != nil {
		return fmt.Errorf("restore the keyspace: %w", err)
	}
	if err := r.identity(who, authority); err != nil {
		return fmt.Errorf("restore whom the cluster trusts: %w", err)
	}
	if err := r.runs(); err != nil {
		return fmt.Errorf("restore the run log: %w", err)
	}
	if err := os.RemoveAll(archive); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return writeJSON(r.site.stage(serverFile), settings{Name: r.opts.Name})
}

// move renames what is in one directory into another, if it is there.
func move(from, to, name string) error {
	err := os.Rename(filepath.Join(from, name), filepath.Join(to, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// keyspace makes the member, and opens it for a moment: to see that it does open, to clear away what must not come back, and
// to read who signs the cluster's certificates.
func (r *restoration) keyspace(ctx context.Context, who pki.Identity) (record state.Authority, err error) {
	dir := r.site.stage(etcdDir)
	err = member.Restore(ctx, member.RestoreOptions{
		Snapshot: r.site.stage(archiveDir, backup.KeyspaceFile), Dir: dir, Server: who, Log: r.opts.Log})
	if err != nil {
		return record, err
	}
	alone, err := member.Open(ctx, member.Options{Dir: dir, Server: who, Log: r.opts.Log})
	if err != nil {
		return record, err
	}
	defer func() { err = errors.Join(err, alone.Close()) }()
	store, err := state.Open(ctx, state.Options{Client: alone.Client(), Log: r.opts.Log, Now: r.opts.Now})
	if err != nil {
		return record, err
	}
	defer func() { err = errors.Join(err, store.Close()) }() //nolint:contextcheck // ends also when ctx is done
	if err := store.Restored(ctx); err != nil {
		return record, err
	}
	record, _, ok := store.Authority()
	if !ok || len(record.Sealed) == 0 {
		return record, crony.Errorf(crony.Invalid, "the backup's keyspace holds no certificate authority")
	}
	return record, r.admit(ctx, store)
}

// admit makes a way in for an admin, who may have lost the old one with the servers.
func (r *restoration) admit(ctx context.Context, store *state.Store) (err error) {
	if r.opts.People == "" {
		return nil
	}
	if _, err = writeClient(ctx, r.site.stage(), "cluster-restore", r.opts.People, store); err != nil {
		return err
	}
	r.made.ClientFile = filepath.Join(r.opts.Dir, clientFile)
	r.made.Link, err = makeLink(ctx, "link-restore", r.opts.People, store)
	return err
}

// identity gives the server its certificate. Whom it trusts is as the keyspace has it: the file in the backup may be a
// moment older.
func (r *restoration) identity(who pki.Identity, record state.Authority) error {
	seal, err := pki.ReadSealKey(r.site.stage(pkiDir, sealFile))
	if err != nil {
		return err
	}
	ca, err := pki.OpenSealedCA(seal, record.Sealed[0])
	if err != nil {
		return err
	}
	leaf, err := ca.Issue(who, nil, r.opts.Now())
	if err != nil {
		return err
	}
	return writeIdentity(r.site.stage(pkiDir), record, leaf)
}

// runs opens the run log for a moment, to see that it does open.
func (r *restoration) runs() error {
	runs, err := runlog.Open(runlog.Options{Dir: r.site.stage(runsDir), Log: r.opts.Log})
	if err != nil {
		return err
	}
	return runs.Close()
}
