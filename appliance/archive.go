package appliance

import (
	"bytes"
	"context"
	"io"

	"crony/appliance/backup"
	"crony/internal/version"
)

// backup writes an archive of all that a cluster is to w, sealed for recipients; for those that the cluster keeps if none is
// named.
func (s *Server) backup(ctx context.Context, w io.Writer, recipients []string) error {
	if len(recipients) == 0 {
		recipients = s.Store.Recipients()
	}
	about := backup.About{Cluster: s.Cluster, Server: s.ID, ServerName: s.Name, Version: version.Read().Version,
		CreatedAt: s.opts.Now()}
	return backup.Write(ctx, w, recipients, about, func(put backup.Put) (int64, error) {
		revision, err := s.putKeyspace(ctx, put)
		if err != nil {
			return 0, err
		}
		for _, small := range []struct {
			name string
			data []byte
		}{{backup.RootsFile, s.id.trust.PEM()}, {backup.SealKeyFile, []byte(s.id.seal.Hex() + "\n")}} {
			write := func(w io.Writer) error {
				_, err := io.Copy(w, bytes.NewReader(small.data))
				return err
			}
			if err := put(small.name, int64(len(small.data)), write); err != nil {
				return 0, err
			}
		}
		return revision, s.Runs.Snapshot(ctx, func(name string, size int64, write func(io.Writer) error) error {
			return put(backup.RunsDir+name, size, write)
		})
	})
}

// putKeyspace puts a snapshot of the keyspace into an archive, and returns the revision that it was taken at.
func (s *Server) putKeyspace(ctx context.Context, put backup.Put) (revision int64, err error) {
	err = put.Spooled(s.opts.Dir, backup.KeyspaceFile, func(w io.Writer) (err error) {
		revision, err = s.member.Snapshot(ctx, w)
		return err
	})
	return revision, err
}
