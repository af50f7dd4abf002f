package schedule_test

import (
	"errors"
	"testing"
	"time"

	"crony/internal/schedule"
)

// FuzzParse holds that no text panics, that what is refused is refused by an *Error, and that what is taken goes forward,
// says itself and reads itself. A loop without end shows as the fuzzer's own timeout; TestWorkIsBounded bounds the rest.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"* * * * *", "0 0 12 LW * ? 2027-2030", "H/15 H(1-5) L-3,15W jan-mar/2 fri#2,7L", "@every 90s", "@at 2026-12-24T18:00,2027-12-24T18:00:00Z",
		"CRON_TZ=Europe/Berlin 30 2 * * *", "TZ=", "TZ=UTC", "CRON_TZ=UTC", "*-5 * * * *", "1,,2 * * * *", "*/0 * * * *", "@reboot", "0 0 31 2 *",
		"*/15 2 * 3 0#2", "0 0 29 2 5-7/1", "* * * * * * */129", "5-9999/9999 * * * *",
	} {
		f.Add(text, int64(1767225600))
	}
	zone := location(f, "America/New_York")
	load := func(name string) (*time.Location, error) {
		if name == "UTC" {
			return time.UTC, nil
		}
		return nil, errors.New("no such zone")
	}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		options := schedule.Options{Location: zone, Hash: "job", LoadLocation: load}
		s, err := schedule.Parse(text, options)
		if err != nil {
			if _, ok := errors.AsType[*schedule.Error](err); !ok {
				t.Fatalf("%q: %v is not an *Error", text, err)
			}
			return
		}
		if s.Describe("en") == "" || s.Describe("zh-CN") == "" {
			t.Errorf("%q has no words", text)
		}
		again, err := schedule.Parse(s.String(), options)
		if err != nil {
			t.Fatalf("%q is not read again: %v", text, err)
		}
		at := time.Unix(unix, 0)
		for range 5 {
			next := s.Next(at)
			if !next.Equal(again.Next(at)) {
				t.Fatalf("%q read again differs after %s", text, at)
			}
			if next.IsZero() {
				return
			}
			if !next.After(at) || next.Location() != time.UTC {
				t.Fatalf("%q: after %s comes %s", text, at, next)
			}
			at = next
		}
	})
}
