package runlog

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"sort"

	"go.etcd.io/bbolt"

	"crony"
)

// The index names the runs of a job, of an agent, of a group, those that ended in a state other than succeeded, and those whose
// result is to be handled. A day
// has a slot for each quarter of an hour, and a name has a list in each slot, in blocks of so many runs. Slots come first in
// the keys: the runs of some minutes are of many jobs, and so go to neighbouring pages.
const (
	indexJob   = 'j'
	indexAgent = 'a'
	indexGroup = 'g'
	indexState = 's' // its name is the state's byte
	indexWaits = 'w' // its name is waitsName
	waitsName  = 1

	slotMillis = 15 * 60 * 1000
	daySlots   = dayMillis / slotMillis
	blockRuns  = 128

	runSize = len(runKey{})
)

// listID says which list.
type listID struct {
	kind byte
	name uint32
}

// lists appends the lists that a run with this header is in.
func (h *header) lists(b []listID) []listID {
	if !h.claimed() {
		return b
	}
	b = append(b, listID{indexJob, h.job}, listID{indexAgent, h.agent}, listID{indexGroup, h.group})
	if h.ended() && h.state != crony.Succeeded {
		b = append(b, listID{indexState, uint32(stateByte(h.state))})
	}
	if h.handle {
		b = append(b, listID{indexWaits, waitsName})
	}
	return b
}

func slotOf(k runKey) int { return int(k.millis() % dayMillis / slotMillis) }

// firstIn returns the smallest key that a run of a slot can have.
func (d dayNumber) firstIn(slot int) runKey {
	return firstOf(int64(d)*dayMillis + int64(slot)*slotMillis)
}

// list is one list of a day. It is read within one transaction.
type list struct {
	c      *bbolt.Cursor
	day    dayNumber
	id     listID
	seeks  int // how often it went to the tree: what it has cost
	prefix []byte
	block  block  // the one that was read last
	upTo   runKey // the list has none between the block's last and this one
}

// block is runs in their order.
type block []byte

func (b block) len() int         { return len(b) / runSize }
func (b block) at(i int) []byte  { return b[i*runSize : (i+1)*runSize] }
func (b block) run(i int) runKey { return runKey(b.at(i)) }

// search returns where the first run stands that is not less than k.
func (b block) search(k runKey) int {
	return sort.Search(b.len(), func(i int) bool { return bytes.Compare(b.at(i), k[:]) >= 0 })
}

func newList(tx *bbolt.Tx, day dayNumber, id listID) *list {
	return &list{c: tx.Bucket([]byte(bucketIndex)).Cursor(), day: day, id: id}
}

// seek reads the list's last block in a slot that begins at k or before it, and the first that begins after k.
func (l *list) seek(slot int, k runKey) (before, after block) {
	l.seeks++
	l.prefix = binary.BigEndian.AppendUint32(append(l.prefix[:0], byte(slot), l.id.kind), l.id.name)
	size := len(l.prefix)
	l.prefix = append(l.prefix, k[:]...)
	key, value := l.c.Seek(l.prefix)
	if bytes.Equal(key, l.prefix) {
		return value, nil
	}
	if bytes.HasPrefix(key, l.prefix[:size]) {
		after = value
	}
	if key == nil {
		key, value = l.c.Last()
	} else {
		key, value = l.c.Prev()
	}
	if bytes.HasPrefix(key, l.prefix[:size]) {
		before = value
	}
	return before, after
}

// atOrBelow returns the list's greatest run that is not greater than k; false if it has none from low's slot on.
func (l *list) atOrBelow(k, low runKey) (runKey, bool) {
	if l.block.len() > 0 && bytes.Compare(l.block.at(0), k[:]) <= 0 && bytes.Compare(k[:], l.upTo[:]) <= 0 {
		return l.block.below(k), true
	}
	for slot, last := slotOf(k), slotOf(low); slot >= last && k.day() == l.day; slot-- {
		if before, _ := l.seek(slot, k); before.len() > 0 {
			l.block, l.upTo = before, k
			return before.below(k), true
		}
		k, _ = l.day.firstIn(slot).below()
	}
	return runKey{}, false
}

// below returns the greatest run that is not greater than k; there is one.
func (b block) below(k runKey) runKey {
	i := b.search(k)
	if i == b.len() || b.run(i) != k {
		i--
	}
	return b.run(i)
}

// atOrAbove returns the list's smallest run that is not less than k; false if it has none.
func (l *list) atOrAbove(k runKey) (runKey, bool) {
	if l.block.len() > 0 && bytes.Compare(l.block.at(0), k[:]) <= 0 {
		if i := l.block.search(k); i < l.block.len() {
			return l.block.run(i), true
		}
	}
	for slot := slotOf(k); slot < daySlots && k.day() == l.day; slot++ {
		before, after := l.seek(slot, k)
		for _, b := range []block{before, after} {
			if i := b.search(k); i < b.len() {
				l.block, l.upTo = b, k
				return b.run(i), true
			}
		}
		k = l.day.firstIn(slot + 1)
	}
	return runKey{}, false
}

// posting is a list in one slot.
type posting struct {
	slot int
	listID
}

func (p posting) key(b []byte, first []byte) []byte {
	return append(binary.BigEndian.AppendUint32(append(b, byte(p.slot), p.kind), p.name), first...)
}

// addTo adds runs, which are in their order, to a list.
func addTo(index *bbolt.Bucket, day dayNumber, p posting, runs block) error {
	l := &list{c: index.Cursor(), day: day, id: p.listID}
	for runs.len() > 0 {
		there, next := l.seek(p.slot, runs.run(0))
		own := runs.len()
		if next.len() > 0 {
			own = runs.search(next.run(0))
		}
		merged := union(there, runs[:own*runSize])
		for runs = runs[own*runSize:]; merged.len() > 0; {
			size := min(blockRuns, merged.len()) * runSize
			if err := index.Put(p.key(nil, merged.at(0)), merged[:size:size]); err != nil {
				return err
			}
			merged = merged[size:]
		}
	}
	return nil
}

// removeFrom removes runs from a list.
func removeFrom(index *bbolt.Bucket, day dayNumber, p posting, runs block) error {
	l := &list{c: index.Cursor(), day: day, id: p.listID}
	for i := range runs.len() {
		k := runs.run(i)
		there, _ := l.seek(p.slot, k)
		at := there.search(k)
		if at == there.len() || there.run(at) != k {
			continue
		}
		rest := append(append(make(block, 0, len(there)), there[:at*runSize]...), there[(at+1)*runSize:]...)
		if at == 0 {
			if err := index.Delete(p.key(nil, k[:])); err != nil {
				return err
			}
		}
		if rest.len() == 0 {
			continue
		}
		if err := index.Put(p.key(nil, rest.at(0)), rest); err != nil {
			return err
		}
	}
	return nil
}

// union returns the runs of both, in new memory.
func union(a, b block) block {
	all := make(block, 0, len(a)+len(b))
	for a.len() > 0 && b.len() > 0 {
		switch bytes.Compare(a.at(0), b.at(0)) {
		case -1:
			all, a = append(all, a.at(0)...), a[runSize:]
		case 1:
			all, b = append(all, b.at(0)...), b[runSize:]
		default:
			a = a[runSize:]
		}
	}
	return append(append(all, a...), b...)
}

func comparePostings(a, b posting) int {
	return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
}
