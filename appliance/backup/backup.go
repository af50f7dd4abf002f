// Package backup writes and reads the archive of a cluster: all that it takes to begin it again on a new machine, in one
// file.
//
// Inside out, an archive is a tar, compressed by zstd, sealed by age (https://age-encryption.org/v1) for one or several
// recipients:
//
//	header.json                {format, cluster, created_at}: what this is, before all that is large
//	keyspace.db                etcd's snapshot of the keyspace
//	runs/runs-YYYY-MM-DD.db    the run log, a file a day
//	runs/bounds                what the run log no longer holds; missing if it has let go of nothing yet
//	pki/ca.crt, pki/seal.key   whom the cluster trusts, and the key to what its servers share in secret
//	manifest.json              [Manifest]: whose it is, and the size and the SHA-256 of each file above
//
// The one thing to know: the manifest is the last entry, and age has a seal on the end of the stream. So what was cut off
// somewhere is never taken for an archive, however whole it looks up to there.
//
// It is sealed because it holds the seal key, and so the cluster's authority: who can read it can be anybody in the cluster.
// The key that opens it, the recovery key, is shown once when the cluster is made, and is not kept by any server. Without
// crony, `age -d -i KEYFILE ARCHIVE | zstd -d | tar x` takes an archive apart.
//
// Sealed is not signed: whoever knows a recipient can make an archive. Where it came from is for those who restore it to
// know.
//
// The package knows the archive's form. It takes no snapshots, starts no cluster, and knows no place where archives are
// kept.
package backup

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"crony"
	"crony/internal/pki"
)

// Format is the form of archive that this package writes, and the newest that it reads.
const Format = 1

// The files of an archive. Those of the run log have names of their own under RunsDir.
const (
	KeyspaceFile = "keyspace.db"
	RunsDir      = "runs/"
	RootsFile    = "pki/ca.crt"
	SealKeyFile  = "pki/seal.key"
	BoundsFile   = RunsDir + "bounds"

	headerFile   = "header.json"
	manifestFile = "manifest.json"
)

// The bounds, in bytes, of what is read into memory.
const (
	maxHeader   = 64 << 10
	maxManifest = 8 << 20
	maxSmall    = 1 << 20 // of each file under pki/
	maxBounds   = 64 << 20
)

// maxFiles is more than a century of days.
const maxFiles = 40_000

// About is what an archive says of where it comes from.
type About struct {
	Cluster    string    `json:"cluster"`     // the cluster's id
	Server     string    `json:"server"`      // the id of the server that wrote it
	ServerName string    `json:"server_name"` // for people
	Version    string    `json:"version"`     // of that server's crony
	CreatedAt  time.Time `json:"created_at"`
}

func (a *About) validate() error {
	switch {
	case (pki.Identity{Cluster: a.Cluster, Role: pki.Server, ID: "any"}).Validate() != nil:
		return fmt.Errorf("%.80q is no cluster's id", a.Cluster)
	case a.CreatedAt.IsZero():
		return errors.New("it does not say when it was made")
	}
	return nil
}

// Manifest is what an archive says of itself at its end.
type Manifest struct {
	Format int `json:"format"`
	About
	Revision int64  `json:"revision"` // of the keyspace
	Files    []File `json:"files"`    // in the archive's order
}

// File is one file in an archive.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // in lower-case hexadecimal
}

// Size returns how many bytes all files have together.
func (m *Manifest) Size() crony.Size {
	var sum int64
	for _, f := range m.Files {
		sum += f.Size
	}
	return crony.Size(sum)
}

// header is the first entry.
type header struct {
	Format    int       `json:"format"`
	Cluster   string    `json:"cluster"`
	CreatedAt time.Time `json:"created_at"`
}

var fileName = regexp.MustCompile(`^(keyspace\.db|pki/(ca\.crt|seal\.key)|runs/(runs-[0-9]{4}-[0-9]{2}-[0-9]{2}\.db|bounds))$`)

var sum256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

// admit says why a file can't be in an archive beside those that are in it.
func admit(files []File, name string, size int64) error {
	switch {
	case len(files) == maxFiles:
		return fmt.Errorf("it has more than %d files", maxFiles)
	case !fileName.MatchString(name):
		return fmt.Errorf("%.80q is no name of a file in an archive", name)
	case size < 0:
		return fmt.Errorf("%s can't have %d bytes", name, size)
	case isSmall(name) && size > maxSmall, name == BoundsFile && size > maxBounds:
		return fmt.Errorf("%s has %d bytes, which is more than it can need", name, size)
	}
	for _, f := range files {
		if f.Name == name {
			return fmt.Errorf("%s is in it twice", name)
		}
	}
	return nil
}

func isSmall(name string) bool { return name == RootsFile || name == SealKeyFile }

// complete says which file is missing without which nothing can be restored.
func complete(files []File) error {
	for _, name := range []string{KeyspaceFile, RootsFile, SealKeyFile} {
		if !contains(files, name) {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}

func contains(files []File, name string) bool {
	for _, f := range files {
		if f.Name == name {
			return true
		}
	}
	return false
}

func file(name string, size int64, sum []byte) File {
	return File{Name: name, Size: size, SHA256: hex.EncodeToString(sum)}
}

// Put adds a file to an archive: one of the names above, and as many bytes as were announced, which write writes.
type Put func(name string, size int64, write func(io.Writer) error) error
