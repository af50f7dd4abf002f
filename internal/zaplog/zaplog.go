// Package zaplog lets a library that logs through zap write to the process's slog logger.
//
// The one thing to know: it is quiet. What is below the given level costs a comparison: it is dropped before an entry is
// made. Levels keep their names; zap's levels above Error become [LevelFatal]. Fields become attributes with their types,
// and a field "error" is called "err", as everywhere in the project.
//
// It does not sample, and it doesn't end the process: what a fatal entry does is decided by the options of the zap.Logger.
package zaplog

import (
	"context"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"
)

// LevelFatal is the level of entries after which the library means to end the process.
const LevelFatal = slog.LevelError + 4

// New returns a core that writes entries of level least and above to log, as far as log wants them. Least is a
// [zapcore.Level], or a zap.AtomicLevel that can be changed later. Entries with a message that is in ignore are dropped:
// those that a library writes at each start and that mean nothing where it is embedded.
func New(log *slog.Logger, least zapcore.LevelEnabler, ignore ...string) zapcore.Core {
	return &core{handler: log.Handler(), least: least, ignore: ignore}
}

type core struct {
	handler slog.Handler
	least   zapcore.LevelEnabler
	ignore  []string
}

// Enabled implements [zapcore.LevelEnabler].
func (c *core) Enabled(level zapcore.Level) bool {
	return c.least.Enabled(level) && c.handler.Enabled(context.Background(), slogLevel(level))
}

// With implements [zapcore.Core]. A namespace holds for everything that comes after it.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	clone := *c
	from := 0
	for i, f := range fields {
		if f.Type == zapcore.NamespaceType {
			clone.handler = withAttrs(clone.handler, fields[from:i]).WithGroup(f.Key)
			from = i + 1
		}
	}
	clone.handler = withAttrs(clone.handler, fields[from:])
	return &clone
}

func withAttrs(h slog.Handler, fields []zapcore.Field) slog.Handler {
	if len(fields) == 0 {
		return h
	}
	return h.WithAttrs(attrs(fields))
}

// Check implements [zapcore.Core].
func (c *core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(entry.Level) || slices.Contains(c.ignore, entry.Message) {
		return checked
	}
	return checked.AddCore(entry, c)
}

// Write implements [zapcore.Core].
func (c *core) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	record := slog.NewRecord(entry.Time, slogLevel(entry.Level), entry.Message, entry.Caller.PC)
	if entry.LoggerName != "" {
		record.AddAttrs(slog.String("logger", entry.LoggerName))
	}
	record.AddAttrs(attrs(fields)...)
	if entry.Stack != "" {
		record.AddAttrs(slog.String("stack", entry.Stack))
	}
	return c.handler.Handle(context.Background(), record)
}

// Sync implements [zapcore.Core]: slog keeps nothing back.
func (c *core) Sync() error { return nil }

func slogLevel(level zapcore.Level) slog.Level {
	switch {
	case level > zapcore.ErrorLevel:
		return LevelFatal
	case level == zapcore.ErrorLevel:
		return slog.LevelError
	case level == zapcore.WarnLevel:
		return slog.LevelWarn
	case level == zapcore.InfoLevel:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}

func attrs(fields []zapcore.Field) []slog.Attr {
	out := make([]slog.Attr, 0, len(fields))
	for i, f := range fields {
		switch f.Type {
		case zapcore.SkipType:
		case zapcore.NamespaceType:
			return append(out, slog.GroupAttrs(f.Key, attrs(fields[i+1:])...))
		default:
			out = append(out, attr(f))
		}
	}
	return out
}

// attr translates the kinds of field that a log line mostly has; the others are left to zap's own encoding.
func attr(f zapcore.Field) slog.Attr {
	switch f.Type {
	case zapcore.StringType:
		return slog.String(f.Key, clip(f.String))
	case zapcore.BoolType:
		return slog.Bool(f.Key, f.Integer == 1)
	case zapcore.Int64Type, zapcore.Int32Type, zapcore.Int16Type, zapcore.Int8Type:
		return slog.Int64(f.Key, f.Integer)
	case zapcore.Uint64Type, zapcore.Uint32Type, zapcore.Uint16Type, zapcore.Uint8Type:
		return slog.Uint64(f.Key, uint64(f.Integer))
	case zapcore.Float64Type:
		return slog.Float64(f.Key, math.Float64frombits(uint64(f.Integer)))
	case zapcore.DurationType:
		return slog.Duration(f.Key, time.Duration(f.Integer))
	case zapcore.TimeType:
		return slog.Time(f.Key, time.Unix(0, f.Integer).UTC())
	case zapcore.ErrorType:
		return slog.Any(errKey(f.Key), f.Interface)
	default:
		return encoded(f)
	}
}

// maxText is how much of a text is logged, in bytes: libraries log whole requests when they are slow.
const maxText = 1 << 10

func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "… of " + strconv.Itoa(len(text)) + " bytes"
}

func errKey(key string) string {
	if key == "error" {
		return "err"
	}
	return key
}

// encoded gives the attribute of what zap makes of a field; several, if it makes several, as a group without a name, which
// slog shows in line.
func encoded(f zapcore.Field) slog.Attr {
	encoder := zapcore.NewMapObjectEncoder()
	f.AddTo(encoder)
	var out []slog.Attr
	for _, key := range slices.Sorted(maps.Keys(encoder.Fields)) {
		value := encoder.Fields[key]
		if text, ok := value.(string); ok {
			value = clip(text)
		}
		out = append(out, slog.Any(key, value))
	}
	if len(out) == 1 {
		return out[0]
	}
	return slog.GroupAttrs("", out...)
}
