package replica

import (
	"slices"

	"maps"

	"crony/embedded/runlog"
)

const (
	maxHints = 50_000 // for one server: about 5 MB
	hintStep = 256    // items whose records are sent together
)

// hints are the items of which a server was not sent everything.
type hints struct {
	days map[string]map[string]struct{} // keys by day
	n    int
}

// add takes items; false: there is no room for more, and all are forgotten.
func (h *hints) add(items ...runlog.Item) bool {
	if h.days == nil {
		h.days = map[string]map[string]struct{}{}
	}
	for _, item := range items {
		keys := h.days[item.Day]
		if keys == nil {
			keys = map[string]struct{}{}
			h.days[item.Day] = keys
		}
		if _, there := keys[item.Key]; there {
			continue
		}
		if h.n == maxHints {
			h.clear()
			return false
		}
		keys[item.Key] = struct{}{}
		h.n++
	}
	return true
}

// take removes some items of one day, the first that there is.
func (h *hints) take() (day string, keys []string) {
	if h.n == 0 {
		return "", nil
	}
	day = slices.Min(slices.Collect(maps.Keys(h.days)))
	for key := range h.days[day] {
		if len(keys) == hintStep {
			break
		}
		keys = append(keys, key)
		delete(h.days[day], key)
	}
	h.n -= len(keys)
	if len(h.days[day]) == 0 {
		delete(h.days, day)
	}
	return day, keys
}

func (h *hints) clear() { h.days, h.n = nil, 0 }
