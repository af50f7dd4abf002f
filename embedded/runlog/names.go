package runlog

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"
)

const (
	maxShared  = 128     // bytes of a text that is worth a name where it need not have one
	maxLearned = 1 << 16 // names that are remembered at once
)

// texts is how a record's texts are written and read.
type texts interface {
	// appendRef appends a reference to s. Where compared is set, two references in one file are equal if the texts are.
	appendRef(b []byte, s string, compared bool) []byte
	// text reads what a reference stands for.
	text(u *unpacker) string
}

// A reference is an even number, twice the id of a name; or an odd one, of which half is the length of the text that follows
// it. Zero is the empty text.

// spelled is texts without names: records as they travel, and as they are compared. The zero value is ready for use.
type spelled struct {
	seen map[string]string // one copy of what comes again and again
}

func (*spelled) appendRef(b []byte, s string, _ bool) []byte { return appendSpelled(b, s) }

func appendSpelled(b []byte, s string) []byte {
	if s == "" {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(s))<<1|1), s...)
}

func (t *spelled) text(u *unpacker) string {
	ref := u.uvarint()
	if ref == 0 {
		return ""
	}
	if ref&1 == 0 {
		u.fail()
		return ""
	}
	s := u.bytes(ref >> 1)
	if len(s) > maxShared {
		return string(s)
	}
	if known, ok := t.seen[string(s)]; ok {
		return known
	}
	if t.seen == nil {
		t.seen = map[string]string{}
	}
	own := string(s)
	t.seen[own] = own
	return own
}

// names is a file's texts, within one transaction. What it remembers may be kept for the next one, see [names.in].
type names struct {
	texts, ids *bbolt.Bucket
	byID       map[uint32]string
	byText     map[string]uint32
	added      bool  // in this transaction
	err        error // why a name could not be made
}

func newNames() *names { return &names{byID: map[uint32]string{}, byText: map[string]uint32{}} }

func namesOf(tx *bbolt.Tx) *names { return newNames().in(tx) }

// in makes n that of another transaction of the same file.
func (n *names) in(tx *bbolt.Tx) *names {
	n.texts, n.ids = tx.Bucket([]byte(bucketNames)), tx.Bucket([]byte(bucketIDs))
	n.texts.FillPercent = growing
	n.added, n.err = false, nil
	if len(n.byID) > maxLearned {
		clear(n.byID)
		clear(n.byText)
	}
	return n
}

// name returns what an id stands for.
func (n *names) name(id uint32) (string, bool) {
	if id == 0 {
		return "", true
	}
	if s, ok := n.byID[id]; ok {
		return s, true
	}
	var key [4]byte
	binary.BigEndian.PutUint32(key[:], id)
	value := n.texts.Get(key[:])
	s := string(value)
	if value == nil || !n.filed(id, s) {
		return "", false
	}
	n.byID[id], n.byText[s] = s, id
	return s, true
}

// filed says whether a text stands under its hash with this id. If not, it is not what it was.
func (n *names) filed(id uint32, s string) bool {
	var hash [8]byte
	binary.BigEndian.PutUint64(hash[:], xxhash.Sum64String(s))
	for list := n.ids.Get(hash[:]); len(list) >= 4; list = list[4:] {
		if binary.BigEndian.Uint32(list) == id {
			return true
		}
	}
	return false
}

// find returns a text's id; 0 and false if it has none.
func (n *names) find(s string) (uint32, bool) {
	if s == "" {
		return 0, true
	}
	if id, ok := n.byText[s]; ok {
		return id, true
	}
	var hash [8]byte
	binary.BigEndian.PutUint64(hash[:], xxhash.Sum64String(s))
	for list := n.ids.Get(hash[:]); len(list) >= 4; list = list[4:] {
		id := binary.BigEndian.Uint32(list)
		if found, ok := n.name(id); ok && found == s {
			return id, true
		}
	}
	return 0, false
}

// id returns a text's id, and gives it one if it has none. Only the writer calls it.
func (n *names) id(s string) uint32 {
	if id, ok := n.find(s); ok {
		return id
	}
	var id uint32 = 1
	if last, _ := n.texts.Cursor().Last(); last != nil {
		id = binary.BigEndian.Uint32(last) + 1
	}
	hash := binary.BigEndian.AppendUint64(nil, xxhash.Sum64String(s))
	key := binary.BigEndian.AppendUint32(nil, id)
	n.note(n.texts.Put(key, []byte(s)))
	n.note(n.ids.Put(hash, append(append([]byte(nil), n.ids.Get(hash)...), key...)))
	n.byID[id], n.byText[s] = s, id
	n.added = true
	return id
}

func (n *names) note(err error) {
	if n.err == nil {
		n.err = err
	}
}

func (n *names) appendRef(b []byte, s string, compared bool) []byte {
	if len(s) > maxShared && !compared {
		return appendSpelled(b, s)
	}
	return binary.AppendUvarint(b, uint64(n.id(s))<<1)
}

func (n *names) text(u *unpacker) string {
	ref := u.uvarint()
	if ref&1 == 1 {
		return string(u.bytes(ref >> 1))
	}
	id := uint32(ref >> 1)
	s, ok := n.name(id)
	if !ok || uint64(id) != ref>>1 {
		u.fail()
	}
	return s
}
