package ledger

import (
	"time"

	"crony"
)

// feed reads records in their order, a portion at a time. The zero time after which it goes on means that it has ended.
type feed[T any] struct {
	fetch func(from time.Time) ([]T, time.Time, error)
	key   func(*T) string // by which one that is given again is known
	from  time.Time
	ended bool
	items []T
	seen  map[string]bool // of the portion before
}

// head returns the first record that was not taken; nil if there is none.
func (f *feed[T]) head() (*T, error) {
	for len(f.items) == 0 && !f.ended {
		if err := f.read(); err != nil {
			return nil, err
		}
	}
	if len(f.items) == 0 {
		return nil, nil
	}
	return &f.items[0], nil
}

func (f *feed[T]) take() { f.items = f.items[1:] }

func (f *feed[T]) read() error {
	items, next, err := f.fetch(f.from)
	if err != nil {
		return err
	}
	seen := make(map[string]bool, len(items))
	for i := range items {
		key := f.key(&items[i])
		seen[key] = true
		if !f.seen[key] {
			f.items = append(f.items, items[i])
		}
	}
	if f.ended = next.IsZero(); !f.ended && !next.After(f.from) && len(f.items) == 0 {
		return crony.Errorf(crony.Internal, "the run log gives the same records of %s again and again", next.Format(time.RFC3339))
	}
	f.from, f.seen = next, seen
	return nil
}
