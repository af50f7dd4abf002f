package member

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// TestQuota fills a small store, and gets it going again.
func TestQuota(t *testing.T) {
	t.Parallel()
	o := options(filepath.Join(t.TempDir(), "etcd"))
	o.QuotaBytes = 4 << 20
	m := open(t, o)
	value := string(make([]byte, 256<<10))
	var err error
	for i := 0; i < 100 && err == nil; i++ {
		_, err = m.Client().Put(t.Context(), "k", value)
	}
	full := m.Status()
	if !errors.Is(err, rpctypes.ErrNoSpace) || len(full.Alarms) != 1 || full.Alarms[0] != (Alarm{m.ID(), NoSpace}) {
		t.Fatalf("a store over its quota: %v, %+v", err, full)
	}
	if err := errors.Join(m.Compact(t.Context(), 0), m.Compact(t.Context(), 0), m.Defragment()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Client().Put(t.Context(), "k", "v"); !errors.Is(err, rpctypes.ErrNoSpace) {
		t.Errorf("a write before the alarm is disarmed: %v", err)
	}
	if err := m.Disarm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := m.Status(); len(s.Alarms) > 0 || s.Size >= full.Size/2 || s.InUse > s.Size || s.Quota != o.QuotaBytes || s.Applied == 0 {
		t.Errorf("after it was made room: %+v; before: %+v", s, full)
	}
	put(t, m, "k", "v")
	if _, err := m.Client().Put(t.Context(), "k", value); err != nil {
		t.Error(err)
	}
}

// TestSnapshotCutOff: a reader that goes away, or is called away, keeps the member from nothing.
func TestSnapshotCutOff(t *testing.T) {
	t.Parallel()
	m := open(t, options(filepath.Join(t.TempDir(), "etcd")))
	for range 20 {
		put(t, m, "k", string(make([]byte, 256<<10)))
	}
	gone := errors.New("gone")
	r, w := io.Pipe()
	go func() {
		_, _ = io.CopyN(io.Discard, r, 4<<10)
		_ = r.CloseWithError(gone)
	}()
	if _, err := m.Snapshot(t.Context(), w); !errors.Is(err, gone) {
		t.Errorf("a reader that goes away: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := m.Snapshot(ctx, io.Discard); !errors.Is(err, gone) {
		t.Errorf("called away: %v", err)
	}
	began := time.Now()
	shut(t, m)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("closing took %s", took)
	}
}
