package crony

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time whose text is a person's: "90s", "1h30m", "30d". A day is 24 hours.
type Duration time.Duration

// ParseDuration reads what [Duration.String] writes, and every form of [time.ParseDuration]; d and w may lead. A negative
// duration is an error: nothing in a definition lasts less than no time.
func ParseDuration(s string) (Duration, error) {
	wrong := fmt.Errorf("%q is not a duration; write one like 90s, 1h30m or 30d", s)
	rest, total := s, time.Duration(0)
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, ok := strings.Cut(rest, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n > uint64((math.MaxInt64-total)/u.size) {
			return 0, wrong
		}
		total += time.Duration(n) * u.size
		rest = after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || d > math.MaxInt64-total {
			return 0, wrong
		}
		total += d
	}
	if s == "" {
		return 0, wrong
	}
	return Duration(total), nil
}

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes d with the largest units that fit and no empty ones: 36h is "1d12h".
func (d Duration) String() string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	if days := d / Duration(24*time.Hour); days > 0 {
		fmt.Fprintf(&b, "%dd", days)
		d -= days * Duration(24*time.Hour)
	}
	if d == 0 {
		return b.String()
	}
	rest := time.Duration(d).String()
	if strings.HasSuffix(rest, "m0s") {
		rest = strings.TrimSuffix(rest, "0s")
	}
	if strings.HasSuffix(rest, "h0m") {
		rest = strings.TrimSuffix(rest, "0m")
	}
	return b.String() + rest
}

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}

// Size is a number of bytes whose text is a person's: "512MiB".
type Size int64

// The units of a size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

type sizeUnit struct {
	name string
	size Size
}

// sizeUnits lists the units, the largest first.
func sizeUnits() []sizeUnit {
	return []sizeUnit{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}}
}

// ParseSize reads what [Size.String] writes: a whole number and one of B, KiB, MiB, GiB and TiB.
func ParseSize(s string) (Size, error) {
	for _, u := range sizeUnits() {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 63)
		if err != nil || Size(n) > (1<<62)/u.size {
			break
		}
		return Size(n) * u.size, nil
	}
	return 0, fmt.Errorf("%q is not a size; write one like 512MiB or 16KiB", s)
}

// String writes s in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits() {
		if s >= u.size && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText implements [encoding.TextMarshaler].
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Size) UnmarshalText(text []byte) (err error) {
	*s, err = ParseSize(string(text))
	return err
}
