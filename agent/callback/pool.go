package callback

import (
	"slices"
	"sync"
)

// pool keeps what calls connect by: one thing for each key, as long as a call uses it, and of the others those that were used
// last.
type pool[T any] struct {
	most int

	mu     sync.Mutex
	things map[any]*pooled[T]
	idle   []*pooled[T] // that no call uses, the one that was used last at the end
}

type pooled[T any] struct {
	key   any
	thing T
	done  func() // gives it up
	users int
	stale bool // it goes when nobody uses it any more
}

func newPool[T any](most int) *pool[T] { return &pool[T]{most: most, things: map[any]*pooled[T]{}} }

// take returns the thing of a key, that is still good, or a new one. It is to be given back.
func (p *pool[T]) take(key any, good func(T) bool, fresh func() (T, func(), error)) (*pooled[T], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.things[key]; e != nil {
		if good(e.thing) {
			p.idle = slices.DeleteFunc(p.idle, func(other *pooled[T]) bool { return other == e })
			e.users++
			return e, nil
		}
		p.drop(e)
	}
	thing, done, err := fresh()
	if err != nil {
		return nil, err
	}
	e := &pooled[T]{key: key, thing: thing, done: done, users: 1}
	p.things[key] = e
	return e, nil
}

// drop has nobody take a thing any more. p.mu is held.
func (p *pool[T]) drop(e *pooled[T]) {
	e.stale = true
	delete(p.things, e.key)
	p.idle = slices.DeleteFunc(p.idle, func(other *pooled[T]) bool { return other == e })
	if e.users == 0 {
		e.done()
	}
}

func (p *pool[T]) give(e *pooled[T]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.users--
	switch {
	case e.users > 0:
		return
	case e.stale:
		e.done()
		return
	}
	p.idle = append(p.idle, e)
	for len(p.idle) > p.most {
		p.drop(p.idle[0])
	}
}

// close gives up what no call uses, and has the rest go when it is given back.
func (p *pool[T]) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.things {
		p.drop(e)
	}
}
