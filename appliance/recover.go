package appliance

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"crony"
	"crony/embedded/member"
)

// Recovery is what a recovery from a lost quorum will do, or has done.
type Recovery struct {
	Cluster  string   `json:"cluster"`
	Server   string   `json:"server"`         // the name of the one that survives
	Revision int64    `json:"revision"`       // of the newest change that it has in its database
	Keys     int      `json:"keys"`           // that it has there
	Term     uint64   `json:"term"`           // of the newest entry in its log
	Entry    uint64   `json:"entry"`          // the newest in its log: it goes further with a higher term, then with a higher entry
	Doubtful uint64   `json:"doubtful"`       // entries at its end that may not have been decided yet; they are kept
	Others   []string `json:"others"`         // addresses of the servers that will be no more
	Kept     string   `json:"kept,omitempty"` // the directory that holds the store as it was, when it is done
}

// PreviewRecovery looks at the data of a server that is not running, and says what [Recover] would do. It changes nothing.
func PreviewRecovery(dir string) (Recovery, error) {
	id, known, err := survivor(dir)
	if err != nil {
		return Recovery{}, err
	}
	seen, err := member.Inspect(filepath.Join(dir, etcdDir), id.who)
	if err != nil {
		return Recovery{}, err
	}
	r := Recovery{Cluster: id.who.Cluster, Server: known.Name, Revision: seen.Revision, Keys: seen.Keys, Term: seen.Term,
		Entry: seen.Last, Doubtful: seen.Last - seen.Committed}
	for _, m := range seen.Members {
		if m.Server != id.who.ID {
			r.Others = append(r.Others, m.Address)
		}
	}
	return r, nil
}

// Recover makes the server of a directory, which is not running, the only one of its cluster: for when most of the servers
// are lost for good. The others can't come back with what they have; they join anew. Agents, jobs and runs stay. A
// recovery that is cut off can be done again.
func Recover(ctx context.Context, dir string, log *slog.Logger) (Recovery, error) {
	id, known, err := survivor(dir)
	if err != nil {
		return Recovery{}, err
	}
	r := Recovery{Cluster: id.who.Cluster, Server: known.Name}
	r.Kept, err = member.Recover(ctx, member.RecoverOptions{
		Dir: filepath.Join(dir, etcdDir), Server: id.who, Log: log, Now: time.Now})
	return r, err
}

// survivor reads who the server of a directory is.
func survivor(dir string) (*identity, settings, error) {
	var known settings
	if err := checkServerDir(dir); err != nil {
		return nil, known, err
	}
	if err := readJSON(filepath.Join(dir, serverFile), &known); err != nil {
		return nil, known, err
	}
	var join joining
	if err := readJSON(filepath.Join(dir, joinFile), &join); !errors.Is(err, fs.ErrNotExist) {
		return nil, known, crony.Errorf(crony.Conflict, "the server in %s had not joined its cluster yet: there is nothing to recover",
			dir).
			WithHint("recover another server, and let this one join again")
	}
	id, err := openIdentity(filepath.Join(dir, pkiDir), time.Now)
	return id, known, err
}
