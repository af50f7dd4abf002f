package member

import (
	"errors"
	"log/slog"
	"testing"

	"go.uber.org/zap"
)

func TestEtcdMeetsItsEnd(t *testing.T) {
	full := errors.New("disk full")
	for name, log := range map[string]func(*zap.Logger){
		"fatal": func(z *zap.Logger) { z.Fatal("save entries", zap.Int("n", 1), zap.Error(full)) },
		"panic": func(z *zap.Logger) { z.Panic("save entries", zap.Error(full)) },
	} {
		l := newLog(slog.New(slog.DiscardHandler))
		ended := make(chan any)
		meet := func() {
			defer func() { ended <- recover() }()
			log(l.zap)
			t.Errorf("%s: etcd went on", name)
		}
		go meet()
		if r := <-ended; r != nil {
			t.Errorf("%s while opening: panicked with %v", name, r)
		}
		go meet() // a second one must not wait for somebody who reads of the first
		<-ended
		if err := l.arm(); !errors.Is(err, full) || err.Error() != "save entries: disk full" {
			t.Errorf("%s while opening: %v", name, err)
		}
		l.closing()
		go meet()
		if err, ok := (<-ended).(error); !ok || !errors.Is(err, full) {
			t.Errorf("%s when open: no panic, but %v", name, err)
		}
		if err := l.arm(); err != nil {
			t.Errorf("%s: told twice: %v", name, err)
		}
	}
}
