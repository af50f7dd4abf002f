package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"crony/internal/zaplog"
)

// etcdLog takes what etcd logs, and with it the news that etcd can't go on: it logs that and expects the process to end
// there. Nothing may run on. While the member opens, the goroutine ends and Open returns the error; from then on it panics.
//
// It also tells why etcd has stopped by itself: there is no other way to know.
type etcdLog struct {
	zap   *zap.Logger
	level zap.AtomicLevel
	met   chan error // the end that was met while the member opened
	armed atomic.Bool
	why   atomic.Pointer[error] // what made etcd stop by itself
}

func newLog(log *slog.Logger) *etcdLog {
	l := &etcdLog{level: zap.NewAtomicLevelAt(zapcore.WarnLevel), met: make(chan error, 1)}
	if log.Enabled(context.Background(), slog.LevelDebug) {
		l.level.SetLevel(zapcore.InfoLevel)
	}
	shown := zapcore.NewSamplerWithOptions(zaplog.New(log, l.level, noise()...), time.Minute, sayings, 0)
	core := zapcore.NewTee(shown, &confessor{&l.why})
	l.zap = zap.New(core, zap.WithFatalHook(l), zap.WithPanicHook(l))
	return l
}

// sayings is how often the same thing is logged in a minute, of whichever peer: a server that is down is news once.
const sayings = 4

// stopping is what etcd logs when it stops by itself, with the reason as the error.
const stopping = "server error"

// removedText is in the reason if the cluster has removed the member.
const removedText = "permanently removed from the cluster"

// removed tells if etcd has stopped because the cluster has removed the member.
func (l *etcdLog) removed() bool {
	why := l.why.Load()
	return why != nil && strings.Contains((*why).Error(), removedText)
}

// confessor is a core that listens for the reason alone.
type confessor struct{ why *atomic.Pointer[error] }

// Enabled implements [zapcore.LevelEnabler].
func (c *confessor) Enabled(level zapcore.Level) bool { return level == zapcore.WarnLevel }

// With implements [zapcore.Core].
func (c *confessor) With([]zapcore.Field) zapcore.Core { return c }

// Check implements [zapcore.Core].
func (c *confessor) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(entry.Level) || entry.Message != stopping {
		return checked
	}
	return checked.AddCore(entry, c)
}

// Write implements [zapcore.Core].
func (c *confessor) Write(_ zapcore.Entry, fields []zapcore.Field) error {
	for _, field := range fields {
		if err, ok := field.Interface.(error); ok && field.Type == zapcore.ErrorType {
			c.why.Store(&err)
		}
	}
	return nil
}

// Sync implements [zapcore.Core].
func (c *confessor) Sync() error { return nil }

// noise is what etcd warns of and what means nothing here: that clients of two kinds share a port, where there are none; that
// its files can't tell their version, which they can only after the first snapshot, to an etcd that is downgraded; that it
// could not compare its data with one that is down or a moment behind; and what it returns as an error as well.
func noise() []string {
	return []string{
		stopping,
		"data-dir used by this member must be removed",
		"rejecting promote learner: learner is not ready",
		"rejecting member promote request; not enough healthy members",
		"rejecting member add request; not enough healthy members",
		"rejecting member add request; local member has not been connected to majority peers, reconfigure breaks active quorum",
		"rejecting member remove request; not enough healthy members",
		"rejecting member remove request; local member has not been connected to all peers, reconfigure breaks active quorum",
		"failed hash kv request",
		"cannot fetch hash from slow remote peer",
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
