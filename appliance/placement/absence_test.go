package placement

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/embedded/state"
)

func servers(up ...string) (list []state.Server) {
	for _, id := range []string{"s1", "s2"} {
		list = append(list, state.Server{ID: id, Up: slices.Contains(up, id)})
	}
	return list
}

// TestAbsences goes through what the leader s1 sees of an agent at s2, and of one at s1, second by second.
func TestAbsences(t *testing.T) {
	here := fleet("a1", "a2")
	here[0].Server, here[1].Server = "s1", "s2"
	without := func(ids ...string) []crony.AgentStatus {
		list := slices.Clone(here)
		for i := range list {
			if slices.Contains(ids, list[i].ID) {
				list[i].Up, list[i].Server = false, ""
			}
		}
		return list
	}
	type look struct {
		at      int // seconds
		agents  []crony.AgentStatus
		strays  []string
		servers []state.Server
		down    string
		next    int // seconds; 0: never
	}
	both := servers("s1", "s2")
	for name, looks := range map[string][]look{
		"nobody is missing": {{0, here, nil, both, "", 0}, {9, here, nil, both, "", 0}},
		"missing from the start": {{0, without("a1"), nil, both, "", 10}, {9, without("a1"), nil, both, "", 10},
			{10, without("a1"), nil, both, "a1", 0}},
		"missing from the start, and back": {{0, without("a1"), nil, both, "", 10}, {9, here, nil, both, "", 0}},
		"its connection broke": {{0, here, nil, both, "", 0}, {20, without("a2"), nil, both, "", 23},
			{22, without("a2"), nil, both, "", 23}, {23, without("a2"), nil, both, "a2", 0}, {60, without("a2"), nil, both, "a2", 0}},
		"it was back in time, and broke again": {{0, here, nil, both, "", 0}, {20, without("a2"), nil, both, "", 23},
			{22, here, nil, both, "", 0}, {24, without("a2"), nil, both, "", 27}},
		"it came back too late": {{0, here, nil, both, "", 0}, {20, without("a2"), nil, both, "", 23},
			{30, without("a2"), nil, both, "a2", 0}, {31, here, nil, both, "", 0}},
		"it went with its server's lease":      {{0, here, nil, both, "", 0}, {20, without("a2"), nil, servers("s1"), "a2", 0}},
		"it went with the lease of the leader": {{0, here, nil, both, "", 0}, {20, without("a1"), nil, servers("s2"), "", 30}},
		"its server stopped, and it lost its way": {{0, here, nil, both, "", 0}, {20, here, nil, servers("s1"), "", 0},
			{21, without("a2"), nil, servers("s1"), "", 31}, {31, without("a2"), nil, servers("s1"), "a2", 0}},
		"its server has just started": {{0, here, nil, both, "", 0}, {20, here, nil, servers("s1"), "", 0}, {22, here, nil, both, "", 0},
			{24, without("a2"), nil, both, "", 32}, {32, without("a2"), nil, both, "a2", 0}},
		"it broke, and then its server died": {{0, here, nil, both, "", 0}, {20, without("a2"), nil, both, "", 23},
			{21, without("a2"), nil, servers("s1"), "", 23}},
		"one that nobody knows has jobs": {{0, here, []string{"a9"}, both, "", 10}, {10, here, []string{"a9"}, both, "a9", 0},
			{11, here, nil, both, "", 0}},
		"it was removed": {{0, here, nil, both, "", 0}, {20, without("a2"), nil, both, "", 23}, {21, here[:1], nil, both, "", 0}},
	} {
		a := newAbsences("s1", DefaultGrace)
		for _, l := range looks {
			now := noon.Add(time.Duration(l.at) * time.Second)
			a.look(l.agents, l.strays, l.servers, now)
			down, next := a.down(now)
			var want time.Time
			if l.next > 0 {
				want = noon.Add(time.Duration(l.next) * time.Second)
			}
			if got := strings.Join(slices.Sorted(maps.Keys(down)), " "); got != l.down || !next.Equal(want) {
				t.Errorf("%s: at %ds %q are down, want %q; next %v, want %v", name, l.at, got, l.down, next, want)
			}
		}
	}
}
