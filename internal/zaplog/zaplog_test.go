package zaplog

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

func loggers(level slog.Level, least zapcore.Level, ignore ...string) (*zap.Logger, *bytes.Buffer) {
	var out bytes.Buffer
	withoutTime := func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	handler := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime})
	return zap.New(New(slog.New(handler), least, ignore...)), &out
}

func check(t *testing.T, out *bytes.Buffer, want ...string) {
	t.Helper()
	got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if out.Len() == 0 {
		got = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestLevels(t *testing.T) {
	log, out := loggers(slog.LevelDebug, zapcore.DebugLevel)
	log = log.WithOptions(zap.WithPanicHook(zapcore.WriteThenPanic))
	log.Debug("d")
	log.Info("i")
	log.Warn("w")
	log.Error("e")
	log.DPanic("p")
	check(t, out, "level=DEBUG msg=d", "level=INFO msg=i", "level=WARN msg=w", "level=ERROR msg=e", "level=ERROR+4 msg=p")
}

func TestBelowTheLevelIsDropped(t *testing.T) {
	for name, c := range map[string]struct {
		level slog.Level
		least zapcore.Level
	}{
		"by the core's level":   {slog.LevelDebug, zapcore.WarnLevel},
		"by the logger's level": {slog.LevelWarn, zapcore.DebugLevel},
	} {
		log, out := loggers(c.level, c.least)
		if n := testing.AllocsPerRun(100, func() { log.Info("no") }); n != 0 {
			t.Errorf("%s: %v allocations for a dropped entry", name, n)
		}
		log.Warn("yes")
		check(t, out, "level=WARN msg=yes")
	}
}

func TestIgnoredMessages(t *testing.T) {
	log, out := loggers(slog.LevelDebug, zapcore.DebugLevel, "noise")
	log.Warn("noise")
	log.With(zap.Int("n", 1)).Warn("noise")
	log.Warn("noise of another kind")
	check(t, out, `level=WARN msg="noise of another kind"`)
}

type pair struct{ a, b int }

func (p pair) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddInt("a", p.a)
	enc.AddInt("b", p.b)
	return nil
}

func TestFields(t *testing.T) {
	at := time.Date(2027, 1, 2, 3, 4, 5, 6, time.UTC)
	for want, f := range map[string]zap.Field{
		"k=v":                        zap.String("k", "v"),
		"k=true":                     zap.Bool("k", true),
		"k=-7":                       zap.Int32("k", -7),
		"k=18446744073709551615":     zap.Uint64("k", 1<<64-1),
		"k=1.5":                      zap.Float64("k", 1.5),
		"k=1.5s":                     zap.Duration("k", 1500*time.Millisecond),
		"k=2027-01-02T03:04:05.000Z": zap.Time("k", at.Truncate(time.Second)),
		"err=broken":                 zap.Error(errors.New("broken")),
		"cause=broken":               zap.NamedError("cause", errors.New("broken")),
		"":                           zap.Error(nil),
		`k="[a b]"`:                  zap.Strings("k", []string{"a", "b"}),
		"k=1m0s":                     zap.Stringer("k", time.Minute),
		"k=text":                     zap.ByteString("k", []byte("text")),
		`k="map[a:1 b:2]"`:           zap.Object("k", pair{1, 2}),
		"a=1 b=2":                    zap.Inline(pair{1, 2}),
		"k={Name:x}":                 zap.Reflect("k", struct{ Name string }{"x"}),
		"k=<nil>":                    zap.Stringp("k", nil),
	} {
		log, out := loggers(slog.LevelDebug, zapcore.DebugLevel)
		log.Info("m", f)
		check(t, out, strings.TrimSuffix("level=INFO msg=m "+want, " "))
	}
}

func TestWith(t *testing.T) {
	log, out := loggers(slog.LevelDebug, zapcore.DebugLevel)
	log.Named("raft").With(zap.Int("a", 1)).Info("one", zap.Int("b", 2))
	log.With(zap.Int("a", 1), zap.Namespace("n"), zap.Int("b", 2)).Info("two", zap.Int("c", 3))
	log.Info("three", zap.Int("a", 1), zap.Namespace("n"), zap.Int("b", 2), zap.Namespace("m"), zap.Int("c", 3))
	check(t, out,
		"level=INFO msg=one a=1 logger=raft b=2",
		"level=INFO msg=two a=1 n.b=2 n.c=3",
		"level=INFO msg=three a=1 n.b=2 n.m.c=3",
	)
}

func TestTimeAndCallerAreTheEntrys(t *testing.T) {
	var out bytes.Buffer
	handler := slog.NewTextHandler(&out, &slog.HandlerOptions{AddSource: true})
	entry := zapcore.Entry{Time: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), Message: "m"}
	if err := New(slog.New(handler), zapcore.DebugLevel).Write(entry, nil); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "time=2027-01-02T03:04:05.000Z ") {
		t.Errorf("the time is not the entry's: %s", &out)
	}
	out.Reset()
	zap.New(New(slog.New(handler), zapcore.DebugLevel), zap.AddCaller()).Info("m")
	if !strings.Contains(out.String(), "zaplog_test.go:") {
		t.Errorf("the caller is lost: %s", &out)
	}
}

type long int

func (n long) String() string { return strings.Repeat("é", int(n)) }

// A library that logs a whole request does not fill the log with it.
func TestLongTexts(t *testing.T) {
	log, out := loggers(slog.LevelInfo, zapcore.InfoLevel)
	kept := strings.Repeat("é", maxText/2) + "… of 4000 bytes"
	log.Info("m", zap.String("text", long(2000).String()), zap.Stringer("stringer", long(2000)), zap.Stringer("short", long(1)))
	check(t, out, `level=INFO msg=m text="`+kept+`" stringer="`+kept+`" short=é`)
}
