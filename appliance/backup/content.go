package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/fnv"
	"io"
	"strings"

	"crony/internal/pki"
)

// content looks at a file as it goes by, and says at its end whether it is of the kind that its name promises.
type content interface {
	io.Writer // which never fails
	end(size int64) error
}

func contentOf(name, cluster string) content {
	switch {
	case name == KeyspaceFile:
		return &etcdSnapshot{sum: sha256.New()}
	case name == BoundsFile:
		return &bounds{}
	case strings.HasPrefix(name, RunsDir):
		return &boltFile{}
	case name == RootsFile:
		return &roots{cluster: cluster}
	}
	return &sealKey{}
}

// etcdSnapshot holds a snapshot against its own checksum: after a number of pages, and so of 512 bytes, etcd writes the
// SHA-256 of all of them.
type etcdSnapshot struct {
	head boltFile
	sum  hash.Hash
	held []byte // the last bytes, which may be the checksum
}

// Write implements [io.Writer].
func (s *etcdSnapshot) Write(p []byte) (int, error) {
	s.head.Write(p) //nolint:errcheck // it never fails
	if len(p) >= sha256.Size {
		s.sum.Write(s.held)
		s.sum.Write(p[:len(p)-sha256.Size])
		s.held = append(s.held[:0], p[len(p)-sha256.Size:]...)
		return len(p), nil
	}
	s.held = append(s.held, p...)
	if more := len(s.held) - sha256.Size; more > 0 {
		s.sum.Write(s.held[:more])
		s.held = append(s.held[:0], s.held[more:]...)
	}
	return len(p), nil
}

func (s *etcdSnapshot) end(size int64) error {
	switch {
	case size%512 != sha256.Size:
		return errors.New("it is not a snapshot of etcd, or not the whole of one: its checksum is missing")
	case !bytes.Equal(s.sum.Sum(nil), s.held):
		return errors.New("it was damaged before it came into the archive: it is not what etcd's checksum at its end says")
	}
	return s.head.end(size - sha256.Size)
}

// The layout of the first page of a bbolt file: a page's header and then this, in the byte order of the machine.
const (
	boltMeta        = 16 // where the meta begins
	boltMetaSum     = 72 // where its checksum begins, which is FNV-1a of what is before it
	boltHead        = 80
	boltVersion     = 2
	boltMagicLittle = "\xed\xda\x0c\xed"
	boltMagicBig    = "\xed\x0c\xda\xed"
)

// boltFile looks at the first page of a bbolt file, which says how many pages there are.
type boltFile struct{ head []byte }

// Write implements [io.Writer].
func (b *boltFile) Write(p []byte) (int, error) {
	b.head = append(b.head, p[:min(len(p), boltHead-len(b.head))]...)
	return len(p), nil
}

func (b *boltFile) end(size int64) error {
	if len(b.head) < boltHead {
		return errors.New("it is too short for a database")
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch string(b.head[boltMeta : boltMeta+4]) {
	case boltMagicLittle:
	case boltMagicBig:
		order = binary.BigEndian
	default:
		return errors.New("it is not a database of bbolt")
	}
	sum := fnv.New64a()
	sum.Write(b.head[boltMeta:boltMetaSum])
	pageSize, pages := order.Uint32(b.head[boltMeta+8:]), order.Uint64(b.head[boltMeta+40:])
	switch {
	case order.Uint32(b.head[boltMeta+4:]) != boltVersion || sum.Sum64() != order.Uint64(b.head[boltMetaSum:]):
		return errors.New("its first page is damaged")
	case pageSize == 0 || pages > uint64(size)/uint64(pageSize):
		return fmt.Errorf("it has %d bytes, and ought to have %d pages of %d", size, pages, pageSize)
	}
	return nil
}

// roots reads the authorities' certificates.
type roots struct {
	bytes.Buffer
	cluster string
}

func (r *roots) end(int64) error {
	found, err := pki.ParseRoots(r.Bytes())
	if err != nil {
		return err
	}
	if cluster := found[0].Cluster(); cluster != r.cluster {
		return fmt.Errorf("the authority is that of cluster %s", cluster)
	}
	return nil
}

// sealKey reads the servers' shared key.
type sealKey struct{ bytes.Buffer }

func (k *sealKey) end(int64) error {
	_, err := pki.ParseSealKey(k.String())
	return err
}

// bounds reads what the run log no longer holds: a line with the CRC-32C of what follows it.
type bounds struct{ bytes.Buffer }

func (b *bounds) end(int64) error {
	line, body, _ := bytes.Cut(b.Bytes(), []byte("\n"))
	if string(line) != fmt.Sprintf("%08x", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))) {
		return errors.New("its checksum does not fit")
	}
	return nil
}
