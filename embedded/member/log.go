package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"crony/internal/zaplog"
)

// etcdLog takes what etcd logs, and with it the news that etcd can't go on: it logs that and expects the process to end
// there. Nothing may run on. While the member opens, the goroutine ends and Open returns the error; from then on it panics.
type etcdLog struct {
	zap   *zap.Logger
	level zap.AtomicLevel
	met   chan error // the end that was met while the member opened
	armed atomic.Bool
}

func newLog(log *slog.Logger) *etcdLog {
	l := &etcdLog{level: zap.NewAtomicLevelAt(zapcore.WarnLevel), met: make(chan error, 1)}
	if log.Enabled(context.Background(), slog.LevelDebug) {
		l.level.SetLevel(zapcore.InfoLevel)
	}
	l.zap = zap.New(zaplog.New(log, l.level, noise()...), zap.WithFatalHook(l), zap.WithPanicHook(l))
	return l
}

// noise is what etcd warns of and what means nothing here: that clients of two kinds share a port, where there are none; and
// that its files can't tell their version, which they can only after the first snapshot, to an etcd that is downgraded.
func noise() []string {
	return []string{
		"Running http and grpc server on single port. This is not recommended for production.",
		"Failed to detect schema version",
		"Failed to detect storage schema version. Please wait till wal snapshot before upgrading cluster.",
		"failed to update storage version",
	}
}

// OnWrite implements [zapcore.CheckWriteHook]: it is called after a fatal entry was written.
func (l *etcdLog) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(entry.Message)
	for _, field := range fields {
		if cause, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			err = fmt.Errorf("%s: %w", entry.Message, cause)
		}
	}
	if l.armed.Load() {
		panic(fmt.Errorf("etcd can't go on: %w", err))
	}
	select {
	case l.met <- err:
	default:
	}
	runtime.Goexit()
}

// arm lets the next fatal entry panic, and returns the one that came before, if any.
func (l *etcdLog) arm() error {
	l.armed.Store(true)
	select {
	case err := <-l.met:
		return err
	default:
		return nil
	}
}

// closing drops the warnings and errors that etcd gives of what its own closing cuts off. Fatal entries stay.
func (l *etcdLog) closing() { l.level.SetLevel(zapcore.DPanicLevel) }
