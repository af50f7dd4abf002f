package appliance

import (
	"strings"
	"testing"
	"time"

	"crony"
)

// TestLogWarnings warns of logs that lack something for long, and of nothing that mends itself in a moment.
func TestLogWarnings(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	whole := func(behind time.Time) *crony.RunLogStatus {
		return &crony.RunLogStatus{Whole: true, Others: []crony.RunLogOther{{Server: "s2", Behind: 3, BehindSince: behind}}}
	}
	server := func(id, name string, log *crony.RunLogStatus) crony.ServerStatus {
		return crony.ServerStatus{ID: id, Name: name, StartedAt: now.Add(-time.Hour), RunLog: log}
	}
	fresh := server("s1", "alpha", &crony.RunLogStatus{})
	fresh.StartedAt = now.Add(-time.Second)
	for name, c := range map[string]struct {
		servers []crony.ServerStatus
		want    []string // parts of the warnings
	}{
		"all is well":           {[]crony.ServerStatus{server("s1", "alpha", whole(time.Time{})), server("s2", "beta", whole(time.Time{}))}, nil},
		"a moment behind":       {[]crony.ServerStatus{server("s1", "alpha", whole(now.Add(-time.Second))), server("s2", "beta", nil)}, nil},
		"just started":          {[]crony.ServerStatus{fresh}, nil},
		"one is behind":         {[]crony.ServerStatus{server("s1", "alpha", whole(now.Add(-time.Hour))), server("s2", "beta", nil)}, []string{"log of beta lacks"}},
		"one is copying":        {[]crony.ServerStatus{server("s1", "alpha", &crony.RunLogStatus{Copying: 3})}, []string{"alpha is still being copied (3 days"}},
		"one that was not seen": {[]crony.ServerStatus{server("s1", "alpha", &crony.RunLogStatus{})}, []string{"alpha was not compared"}},
	} {
		got := logWarnings(crony.ClusterStatus{Servers: c.servers}, now)
		if len(got) != len(c.want) {
			t.Errorf("%s: %q", name, got)
			continue
		}
		for i := range got {
			if !strings.Contains(got[i], c.want[i]) || !strings.HasSuffix(got[i], "don't remove another server now") {
				t.Errorf("%s: %q", name, got[i])
			}
		}
	}
}
