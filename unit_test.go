package crony

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "30d": 720 * time.Hour, "2w": 336 * time.Hour, "1w1d1h": 193 * time.Hour,
		"15250w": 15250 * 168 * time.Hour, "0s": 0,
	} {
		if got, err := ParseDuration(text); err != nil || got.Std() != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "1", "-1s", "40000w", "15251w", "106751d24h", "99999999999w", "1d1w", "w", "1w-1s", "1x", "9223372036854775807w"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%s is taken for %s", text, got)
		}
	}
}
