package appliance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"crony"
	"crony/internal/durable"
)

// The parts of a server's data directory. It is a server's once serverFile is in it, which is written last.
const (
	serverFile  = "server.json"
	removedFile = "removed"   // the cluster has removed this server
	joinFile    = "join.json" // until the server has been admitted
	pkiDir      = "pki"
	etcdDir     = "etcd"
	runsDir     = "runs"
	agentDir    = "agent" // of crony dev's own agent
	clientFile  = "client.yaml"
)

// settings are what a server must know of itself before its store is open.
type settings struct {
	Name  string `json:"name"`
	Trial bool   `json:"trial,omitempty"` // crony dev made it, and nobody has made it a cluster's first server yet
}

// joining is what a server that has joined and was not admitted yet must know.
type joining struct {
	Servers []string `json:"servers"` // HOST:PORT of the servers' ports for agents
}

// checkServerDir says why a directory can't be a server's that is to be started: there is nothing in it, or the server was
// removed.
func checkServerDir(dir string) error {
	if text, err := os.ReadFile(filepath.Join(dir, removedFile)); err == nil {
		return crony.Errorf(crony.Forbidden, "the server in %s was removed from its cluster: %s", dir, text).
			WithHint("to let this host join again, empty %s and run `crony cluster join`", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, serverFile)); errors.Is(err, fs.ErrNotExist) {
		return crony.Errorf(crony.NotFound, "%s holds no server", dir).
			WithHint("`crony cluster init` makes a new cluster, `crony cluster join` makes this host part of one, " +
				"and `crony restore` brings one back from a backup; if a disk was lost, join again with --replace")
	} else if err != nil {
		return fmt.Errorf("open the data directory: %w", err)
	}
	return nil
}

// clearFor makes a directory ready for a new server, or says what is in the way. What a run of the same that was cut off has
// left is no more than that, and goes.
func clearFor(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, serverFile)); err == nil {
		return crony.Errorf(crony.Conflict, "%s is a server's already", dir).
			WithHint("`crony server` starts it; to begin anew, empty the directory first")
	}
	if err := makeDir(dir); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("open the data directory: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case pkiDir, etcdDir, joinFile, clientFile, "lost+found": // ours, of a start that was cut off
		default:
			return crony.Errorf(crony.Conflict, "%s is not empty: there is %s", dir, e.Name()).
				WithHint("give another directory, or empty it")
		}
	}
	return nil
}

// scrap removes what a start that was cut off has left.
func scrap(dir string) error {
	for _, name := range []string{pkiDir, etcdDir, joinFile, clientFile} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("clear the data directory: %w", err)
		}
	}
	return nil
}

// readJSON reads a file of the data directory.
func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// writeJSON writes a file of the data directory.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}

// bury leaves a note in the directory of a server that was removed, so that it is not started again.
func bury(dir string, now time.Time) error {
	text := "it was found out at " + now.UTC().Format(time.RFC3339)
	return durable.WriteFile(filepath.Join(dir, removedFile), []byte(text), 0o600)
}

// makeDir makes a directory that nobody else can read.
func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return nil
}
