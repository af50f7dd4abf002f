package runlog

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
)

// TestIndexAgainstAModel adds runs to lists and removes some, in any order, and then goes down and up each list.
func TestIndexAgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 7))
	l := openTest(t, Options{})
	mustAppend(t, l, life(noon()), nil)
	day := dayOf(noon())
	model := map[listID]map[runKey]bool{}
	for range 60 {
		id := listID{indexJob, 100 + uint32(rng.IntN(3))}
		if model[id] == nil {
			model[id] = map[runKey]bool{}
		}
		changeList(t, rng, l, day, id, model[id])
		for id, runs := range model {
			wantList(t, rng, l, day, id, slices.SortedFunc(maps.Keys(runs), compareRuns))
		}
	}
}

// changeList adds some hundred runs of two slots to a list and removes others.
func changeList(t *testing.T, rng *rand.Rand, l *Log, day dayNumber, id listID, model map[runKey]bool) {
	t.Helper()
	s := settled{add: map[posting]block{}, remove: map[posting]block{}}
	all := slices.SortedFunc(maps.Keys(model), compareRuns)
	for _, k := range all {
		if rng.IntN(4) == 0 {
			p := posting{slotOf(k), id}
			s.remove[p] = append(s.remove[p], k[:]...)
			delete(model, k)
		}
	}
	fresh := map[runKey]bool{}
	for range rng.IntN(400) {
		k := firstOf(int64(day)*dayMillis + int64(rng.IntN(2))*slotMillis*40 + int64(rng.IntN(500)))
		k[15] = byte(rng.IntN(3))
		if !slices.Contains(all, k) {
			fresh[k] = true
			model[k] = true
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(fresh), compareRuns) {
		p := posting{slotOf(k), id}
		s.add[p] = append(s.add[p], k[:]...)
	}
	err := l.days.update(day, func(tx *bbolt.Tx) error { return s.index(tx.Bucket([]byte(bucketIndex)), day) })
	if err != nil {
		t.Fatal(err)
	}
}

func wantList(t *testing.T, rng *rand.Rand, l *Log, day dayNumber, id listID, want []runKey) {
	t.Helper()
	err := l.days.view(day, func(tx *bbolt.Tx) error {
		down, up := newList(tx, day, id), newList(tx, day, id)
		var falling, rising []runKey
		for k, ok := down.atOrBelow(day.last(), day.first()); ok; {
			falling = append(falling, k)
			k, _ = k.below()
			k, ok = down.atOrBelow(k, day.first())
		}
		for k, ok := up.atOrAbove(day.first()); ok; {
			rising = append(rising, k)
			k, _ = k.above()
			k, ok = up.atOrAbove(k)
		}
		slices.Reverse(falling)
		if !slices.Equal(want, falling) || !slices.Equal(want, rising) {
			t.Fatalf("%d runs: %d down, %d up", len(want), len(falling), len(rising))
		}
		for range 50 { // from anywhere, with what was read before still in mind
			k := firstOf(int64(day)*dayMillis + int64(rng.IntN(3))*slotMillis*40 + int64(rng.IntN(600)) - 50)
			at, _ := slices.BinarySearchFunc(want, k, compareRuns)
			if got, ok := newList(tx, day, id).atOrAbove(k); k.day() == day && (ok != (at < len(want)) || ok && got != want[at]) {
				t.Fatalf("at or above %v: %v, %v", k, got, ok)
			}
			if got, ok := newList(tx, day, id).atOrBelow(k, day.first()); k.day() == day && at < len(want) && want[at] != k &&
				(ok != (at > 0) || ok && got != want[at-1]) {
				t.Fatalf("at or below %v: %v, %v", k, got, ok)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
