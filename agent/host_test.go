//go:build linux

package agent

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"crony"
	"crony/internal/wire"
)

// TestLookAtHost holds what is said of this host against what must be so of any.
func TestLookAtHost(t *testing.T) {
	var before glance
	now := time.Now()
	dir := t.TempDir()
	for range 2 {
		f, err := lookAtHost(dir, now, &before)
		if err != nil {
			t.Fatal(err)
		}
		if f.CPUs < 1 || f.CPUs < runtime.NumCPU() || f.CPU < 0 || f.CPU > 1 || f.Load1 < 0 || f.Uptime < 1 || !f.At.Equal(now) || f.DiskDir != dir ||
			f.MemoryTotal < 1<<20 || f.MemoryAvailable < 1 || f.MemoryAvailable > f.MemoryTotal ||
			f.DiskTotal < 1<<20 || f.DiskAvailable < 0 || f.DiskAvailable > f.DiskTotal {
			t.Errorf("%+v", f)
		}
	}
	if before.all <= 0 || before.busy <= 0 || before.busy > before.all {
		t.Errorf("%+v", before)
	}
	if _, err := lookAtHost(dir+"/none", now, &before); err == nil {
		t.Error("the disk of no directory")
	}
}

// watching is a watcher whose looks are counted.
type watching struct {
	*watcher
	looks, posts int
	err          error
}

func newWatching(t *testing.T, text *logText) *watching {
	w := &watching{}
	w.watcher = newWatcher("", time.Now, func(*wire.FromAgent) bool { w.posts++; return true }, text.logger())
	w.look = func(*glance) (crony.HostFigures, error) {
		w.looks++
		return crony.HostFigures{}, w.err
	}
	ctx, ended := t.Context(), make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx)
	}()
	return w
}

// TestWatch: the host is looked at while somebody wants it, and not before or after.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t, &logText{})
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.looks != 0 {
			t.Fatalf("%d looks while nobody wants any", w.looks)
		}
		w.turn(true)
		time.Sleep(firstLook)
		synctest.Wait()
		if w.looks != 2 || w.posts != 1 {
			t.Errorf("first: %d looks, %d told", w.looks, w.posts)
		}
		w.turn(true) // changes nothing
		time.Sleep(5*lookEvery + lookEvery/2)
		synctest.Wait()
		if w.posts != 6 {
			t.Errorf("told %d times", w.posts)
		}
		w.turn(false)
		w.turn(false)
		synctest.Wait()
		looks := w.looks
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.looks != looks {
			t.Errorf("%d looks after the last was over", w.looks-looks)
		}
		w.turn(true)
		w.turn(false)
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.looks > looks+1 {
			t.Errorf("%d looks by who turned away at once", w.looks-looks)
		}
	})
}

// TestWatchInVain: a host that can't be looked at is said once each time, and tried again when somebody wants it again.
func TestWatchInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text logText
		w := newWatching(t, &text)
		w.err = errors.New("no /proc")
		w.turn(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		if w.looks != 1 || w.posts != 0 || !strings.Contains(text.String(), "can't be looked at") {
			t.Errorf("%d looks, %d told; log:\n%s", w.looks, w.posts, text.String())
		}
		w.err = nil
		w.turn(false)
		synctest.Wait()
		w.turn(true)
		time.Sleep(firstLook)
		synctest.Wait()
		if w.posts != 1 {
			t.Errorf("told %d times", w.posts)
		}
	})
}
