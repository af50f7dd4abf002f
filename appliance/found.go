package appliance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"crony"
	"crony/agent"
	"crony/appliance/backup"
	"crony/embedded/member"
	"crony/embedded/state"
	"crony/internal/durable"
)

// FoundOptions say how a new cluster begins.
type FoundOptions struct {
	Dir    string // of its first server's data: made if need be, and empty
	Name   string // of the server, for people
	People string // URL of the server, for people; "" writes no file for the command line, and makes no link
	Log    *slog.Logger
	Now    func() time.Time // the wall clock; time.Now if nil
}

// Founded is a new cluster, as it is told once.
type Founded struct {
	Cluster    string // its id
	Link       string // signs in once, as an admin
	ClientFile string // for the command line
	Key        string // opens backups: it is nowhere else
	Adopted    bool   // it was crony dev's, and is as it was
	Agent      string // the directory of the agent that was crony dev's; "" if there is none
}

// The first credentials of a cluster.
const (
	adminName = "admin"
	linkTTL   = time.Hour // for a one-time link to be used
)

// Found makes a new cluster of one server, which is not running yet; if the directory is crony dev's, of what is in it. A run
// that is cut off has made nothing, and can be done again. Conflict if the directory is another server's, or not empty.
func Found(ctx context.Context, opts FoundOptions) (Founded, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if trial, err := isTrial(opts.Dir); err != nil {
		return Founded{}, err
	} else if trial && opts.People != "" {
		return adoptTrial(ctx, opts)
	}
	if err := clearFor(opts.Dir); err != nil {
		return Founded{}, err
	}
	if err := scrap(opts.Dir); err != nil {
		return Founded{}, err
	}
	id, err := newIdentity(filepath.Join(opts.Dir, pkiDir), newID(), newID(), opts.Now)
	if err != nil {
		return Founded{}, fmt.Errorf("make the cluster's authority: %w", err)
	}
	founded, err := furnish(ctx, opts, id)
	if err != nil {
		return Founded{}, err
	}
	made := settings{Name: opts.Name, Trial: opts.People == ""}
	return founded, writeJSON(filepath.Join(opts.Dir, serverFile), made)
}

// isTrial reports whether a directory is crony dev's.
func isTrial(dir string) (bool, error) {
	var known settings
	err := readJSON(filepath.Join(dir, serverFile), &known)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return known.Trial, err
}

// adoptTrial makes what crony dev has made the first server of a cluster: with all its jobs, runs and people.
func adoptTrial(ctx context.Context, opts FoundOptions) (Founded, error) {
	id, err := openIdentity(filepath.Join(opts.Dir, pkiDir), opts.Now)
	if err != nil {
		return Founded{}, err
	}
	founded, err := furnish(ctx, opts, id)
	if err != nil {
		return Founded{}, err
	}
	founded.Adopted = true
	if settled, err := agent.Settled(filepath.Join(opts.Dir, agentDir)); err == nil && settled {
		founded.Agent = filepath.Join(opts.Dir, agentDir)
	}
	return founded, writeJSON(filepath.Join(opts.Dir, serverFile), settings{Name: opts.Name})
}

// furnish begins the cluster's store, and puts into it what it must not be without.
func furnish(ctx context.Context, opts FoundOptions, id *identity) (founded Founded, err error) {
	alone, err := member.Open(ctx, member.Options{
		Dir: filepath.Join(opts.Dir, etcdDir), Server: id.who, Create: true, Log: opts.Log})
	if err != nil {
		return founded, fmt.Errorf("begin the store: %w", err)
	}
	defer func() { err = errors.Join(err, alone.Close()) }()
	store, err := state.Open(ctx, state.Options{Client: alone.Client(), Log: opts.Log, Now: opts.Now})
	if err != nil {
		return founded, fmt.Errorf("begin the store: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }() //nolint:contextcheck // it ends what has a time of its own

	if _, _, known := store.Authority(); !known {
		record, _ := id.authority()
		if err := store.PutAuthority(ctx, record, 0); err != nil {
			return founded, fmt.Errorf("keep the authority: %w", err)
		}
	}
	founded.Cluster = id.who.Cluster
	if opts.People == "" {
		return founded, nil
	}
	key, recipient, err := backup.NewKey()
	if err != nil {
		return founded, err
	}
	if err := store.SetRecipients(ctx, []string{recipient}); err != nil {
		return founded, fmt.Errorf("keep whom backups are for: %w", err)
	}
	founded.Key = key
	if founded.ClientFile, err = writeClient(ctx, opts.Dir, "cluster-init", opts.People, store); err != nil {
		return founded, err
	}
	if founded.Link, err = makeLink(ctx, "link-init", opts.People, store); err != nil {
		return founded, err
	}
	return founded, nil
}

// writeClient makes a token for the command line and writes the file that names it.
func writeClient(ctx context.Context, dir, id, url string, store *state.Store) (string, error) {
	token, err := store.CreateToken(ctx, id, adminName, crony.Admin)
	if err != nil {
		return "", fmt.Errorf("make a token for the command line: %w", err)
	}
	var ca string
	if strings.HasPrefix(url, "https://") {
		ca = "ca_file: " + filepath.Join(pkiDir, bundleFile) + "\n"
	}
	file := filepath.Join(dir, clientFile)
	config := fmt.Sprintf("# Written by crony, for the command line.\naddress: %s\ntoken: %s\n%s", url, token, ca)
	if err := durable.WriteFile(file, []byte(config), 0o600); err != nil {
		return "", fmt.Errorf("write the command line's configuration: %w", err)
	}
	return file, nil
}

// makeLink returns a link that signs in once.
func makeLink(ctx context.Context, id, url string, store *state.Store) (string, error) {
	secret, err := store.CreateLink(ctx, id, adminName, crony.Admin, linkTTL)
	if err != nil {
		return "", fmt.Errorf("make a one-time link: %w", err)
	}
	return url + "/login#" + secret, nil
}

// newID returns 16 random letters and digits.
func newID() string { return strings.ToLower(rand.Text()[:16]) }
