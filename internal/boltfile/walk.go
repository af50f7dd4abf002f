package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Depth is how much of a file is looked at.
type Depth int

// The depths.
const (
	// Branches reads what leads to the records: a page of some hundred. What is wrong with the rest can make bbolt panic or
	// give wrong records, which the caller can catch, and nothing worse as long as it only reads.
	Branches Depth = iota
	// Whole reads every page, and sees that none is in use twice, or in use and free.
	Whole
)

// Check returns what is wrong with the file, nil if nothing is.
func (f *File) Check(d Depth) error {
	w := &walk{File: f, leaves: d == Whole}
	if err := w.run(); err != nil {
		return err
	}
	if d == Whole {
		return w.checkFree()
	}
	return nil
}

// Records calls visit for each element of each bucket in the root that can be read, and skip for what is wrong where
// something can't. Damage can have changed what stands in an element, or put an old one in its place: that is for visit to
// see. What it is given is its only until it returns. An error of it ends the reading and is returned.
func (f *File) Records(visit func(bucket string, key, value []byte) error, skip func(error)) error {
	w := &walk{File: f, leaves: true, visit: visit, skip: skip}
	return w.run()
}

// Buckets returns the names of the buckets in the root, in their order.
func (f *File) Buckets() (names []string, err error) {
	w := &walk{File: f, named: func(name string) { names = append(names, name) }}
	err = w.run()
	return names, err
}

// errFound ends a walk that has what it looks for.
var errFound = errors.New("found")

// Strays calls visit for each element of each leaf in the file, wherever it belongs: also for those that no branch leads to
// any more, and for such as were replaced or deleted long ago. Nothing says which bucket one is of, or was. It is as for
// [File.Records] otherwise.
func (f *File) Strays(visit func(key, value []byte) error) error {
	for id := uint64(2); id < f.count; id++ {
		p, err := f.page(id)
		if err != nil {
			continue
		}
		for i := 0; p.kind == kindLeaf && i < p.count; i++ {
			key, value, bucket, err := p.leaf(i)
			if err != nil || bucket {
				continue
			}
			if err := visit(key, value); err != nil {
				return err
			}
		}
		f.done(p)
	}
	return nil
}

// Value returns what stands under a key in a bucket in the root; nil if there is none.
func (f *File) Value(bucket, key string) (value []byte, err error) {
	w := &walk{File: f, leaves: true, only: bucket, visit: func(_ string, k, v []byte) error {
		if string(k) != key {
			return nil
		}
		value = bytes.Clone(v)
		return errFound
	}}
	if err := w.run(); err != nil && !errors.Is(err, errFound) {
		return nil, err
	}
	return value, nil
}

// walk goes over the trees of a file.
type walk struct {
	*File
	leaves bool                // read those of the buckets too; otherwise they are only known to be there
	only   string              // the one bucket to read; "" for all
	named  func(bucket string) // if set, it is called for each bucket, and none is read
	visit  func(bucket string, key, value []byte) error
	skip   func(error) // if set, what can't be read is left out, and the order of keys does not matter

	seen    bitset
	stopped bool // visit said so
}

// tree is the root's, of which name is "", or that of a bucket in it.
type tree struct {
	name   string
	height int // how far down the leaves are
}

// run walks. Every page that it comes to is in seen then.
func (w *walk) run() error {
	w.seen = newBitset(w.count)
	return w.tree("", w.root)
}

// bad notes that something can't be read.
func (w *walk) bad(err error) error {
	if w.stopped || w.skip == nil {
		return err
	}
	w.skip(err)
	return nil
}

func (w *walk) tree(name string, root uint64) error {
	height, err := w.height(root)
	if err != nil {
		return w.bad(err)
	}
	return w.node(tree{name, height}, root, 0, nil, nil)
}

// height goes down on the left. All leaves of a tree are equally far down.
func (w *walk) height(id uint64) (int, error) {
	for height := range maxHeight {
		p, err := w.page(id)
		if err != nil {
			return 0, err
		}
		isLeaf, isBranch := p.kind == kindLeaf, p.kind == kindBranch && p.count > 0
		if isBranch {
			_, id, err = p.branch(0)
		}
		w.done(p)
		switch {
		case isLeaf:
			return height, nil
		case !isBranch:
			return 0, p.fault("it is neither a leaf nor a branch")
		case err != nil:
			return 0, err
		}
	}
	return 0, fmt.Errorf("page %d: it goes down without end", id)
}

// node walks a page, whose keys are from low on and below high; nil is no bound.
func (w *walk) node(t tree, id uint64, depth int, low, high []byte) error {
	if id < 2 || id >= w.count || !w.seen.add(id) {
		return w.bad(fmt.Errorf("page %d is there twice, or not at all", id))
	}
	isLeaf := depth == t.height
	if isLeaf && !w.leaves && t.name != "" {
		return nil
	}
	p, err := w.page(id)
	if err != nil {
		return w.bad(err)
	}
	defer w.done(p)
	for i := 1; i < len(p.data)/w.pageSize; i++ {
		if !w.seen.add(id + uint64(i)) {
			return w.bad(p.fault("it goes on into another"))
		}
	}
	switch {
	case isLeaf:
		return w.leaf(t, p, low, high)
	case p.kind != kindBranch || p.count == 0:
		return w.bad(p.fault("it is not the branch that it should be"))
	}
	return w.branch(t, p, depth, low, high)
}

func (w *walk) branch(t tree, p *page, depth int, low, high []byte) error {
	for i := range p.count {
		key, child, err := p.branch(i)
		if err == nil && w.skip == nil && !inOrder(i, low, key, high) {
			err = p.fault("its keys are not in order")
		}
		if err != nil {
			if err := w.bad(err); err != nil {
				return err
			}
			continue
		}
		end := high
		if i+1 < p.count {
			if next, _, err := p.branch(i + 1); err == nil { // if not, that is said in its turn
				end = next
			}
		}
		low = key
		if err := w.node(t, child, depth+1, low, end); err != nil {
			return err
		}
	}
	return nil
}

// inOrder says whether the key of an element can stand there: above the one before, which low is but for the first. That
// one is the key that leads to its page, as bbolt finds the way back by it.
func inOrder(i int, low, key, high []byte) bool {
	order := bytes.Compare(key, low)
	if i == 0 && low != nil {
		return order == 0
	}
	return order > 0 && (high == nil || bytes.Compare(key, high) < 0)
}

func (w *walk) leaf(t tree, p *page, low, high []byte) error {
	if p.kind != kindLeaf {
		return w.bad(p.fault("it is not the leaf that it should be"))
	}
	for i := range p.count {
		key, value, bucket, err := p.leaf(i)
		switch {
		case err != nil:
		case w.skip == nil && !inOrder(i, low, key, high):
			err = p.fault("its keys are not in order")
		case bucket != (t.name == ""):
			err = p.fault("its element %d is a bucket and should be none, or is none and should be one", i)
		}
		if err != nil {
			if err := w.bad(err); err != nil {
				return err
			}
			continue
		}
		low = key
		if err := w.element(t, key, value); err != nil {
			return err
		}
	}
	return nil
}

// element is a bucket, in the root, or else a record.
func (w *walk) element(t tree, key, value []byte) error {
	switch {
	case t.name == "" && w.named != nil:
		w.named(string(key))
		return nil
	case t.name == "" && (w.only == "" || w.only == string(key)):
		return w.bucket(string(key), value)
	case t.name == "" || w.visit == nil:
		return nil
	}
	err := w.visit(t.name, key, value)
	w.stopped = w.stopped || err != nil
	return err
}

// bucket walks one: the number of its page, and another of no interest here; if there is no such page, a leaf follows.
func (w *walk) bucket(name string, value []byte) error {
	if len(value) < 16 {
		return w.bad(fmt.Errorf("the bucket %.40q is cut short", name))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return w.tree(name, root)
	}
	if value = value[16:]; len(value) < headerSize {
		return w.bad(fmt.Errorf("the bucket %.40q is cut short", name))
	}
	return w.leaf(tree{name: name}, newPage(0, value), nil, nil)
}

// checkFree sees that no page that is in use is among those that bbolt takes for free, and would write over.
func (w *walk) checkFree() error {
	if w.freelist == noFreelist {
		return nil // bbolt finds out for itself what is free, by a walk such as this
	}
	p, err := w.page(w.freelist)
	if err != nil {
		return err
	}
	ids, err := p.free()
	if err != nil {
		return err
	}
	for i := range uint64(len(p.data) / w.pageSize) {
		if !w.seen.add(w.freelist + i) {
			return p.fault("the list of free pages is where something else is")
		}
	}
	for ; len(ids) > 0; ids = ids[8:] {
		if id := binary.NativeEndian.Uint64(ids); id < 2 || id >= w.count || !w.seen.add(id) {
			return p.fault("page %d can't be free", id)
		}
	}
	return nil
}

// bitset is a set of pages.
type bitset []uint64

func newBitset(count uint64) bitset { return make(bitset, count/64+1) }

// add reports false if the page is in the set already, or can't be.
func (s bitset) add(id uint64) bool {
	at, bit := id/64, uint64(1)<<(id%64)
	if at >= uint64(len(s)) || s[at]&bit != 0 {
		return false
	}
	s[at] |= bit
	return true
}
