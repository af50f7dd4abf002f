package runlog

import (
	"context"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"crony"
	"crony/internal/storetest"
)

// TestDoubt has a transaction fail after all of it was written, as when the sync of the file's head fails. What is then appended
// again must be counted once, and all that is remembered must be as in the file.
func TestDoubt(t *testing.T) {
	l := openTest(t, Options{})
	id := runAt(noon())
	life := storetest.Life(id, "backup", "a1", crony.Succeeded)
	if err := l.Append(t.Context(), life[:1], nil); err != nil {
		t.Fatal(err)
	}
	followed := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := make(chan struct{})
	go func() {
		var last error
		for c, err := range l.Output(ctx, id, true) {
			if last = err; string(c.Data) == "begun" {
				close(began)
			}
		}
		followed <- last
	}()
	chunk := crony.Chunk{Run: id, Attempt: 1, Stream: crony.Stdout, At: noon(), Data: []byte("begun")}
	if err := l.Append(t.Context(), nil, []crony.Chunk{chunk}); err != nil {
		t.Fatal(err)
	}
	<-began

	err := l.exclusively(t.Context(), func(w *writer) error {
		b, err := l.Encode(Records{Facts: life})
		if err != nil {
			return err
		}
		day := dayOf(noon())
		p := split([]*request{{Batch: b}})[0]
		err = l.days.update(day, func(tx *bbolt.Tx) error {
			own, err := w.day(tx, day)
			if err != nil {
				return err
			}
			return newWriting(tx, day, l.mem, own).store(p, w.settleAt)
		})
		delete(w.days, day)
		w.doubtful[day] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(t.Context(), life, nil); err != nil {
		t.Fatal(err)
	}
	if err := <-followed; err != nil {
		t.Errorf("the follower of a run that has ended: %v", err)
	}
	if n := l.Running(); n != 0 {
		t.Errorf("%d runs go on, and the only one has ended", n)
	}
	day := dayOf(noon()).String()
	days, err := l.Days(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	minutes, err := l.Minutes(t.Context(), day)
	if err != nil {
		t.Fatal(err)
	}
	var kept, counted Sum
	for minute := range minutes {
		items, err := l.Items(t.Context(), day, minute)
		if err != nil {
			t.Fatal(err)
		}
		kept = kept.plus(minutes[minute])
		for _, s := range items {
			counted = counted.plus(s)
		}
	}
	if kept != counted || days[day] != counted || counted.Records != 5 {
		t.Errorf("the minutes come to %+v and the day to %+v; the records are %+v", kept, days[day], counted)
	}
}
