package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// zones are the time zones that jobs name, each in memory once, for all plans. The files with their rules are watched: a host
// that is upgraded gets new ones while the agent runs. They are looked at no oftener than the loop ticks.
type zones struct {
	known  map[string]*zone // by name
	looked time.Time
}

type zone struct {
	stamp string         // tells one state of its file from another
	rules *time.Location // nil: they can't be read, or have changed since
}

// zoneDirs are where Go looks for rules, on Linux, before it takes those in the program. The variable ZONEINFO comes first.
func zoneDirs() []string {
	return []string{os.Getenv("ZONEINFO"), "/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"}
}

// load is [time.LoadLocation] for them. What it was asked for once is watched, whether there is such a zone or not.
func (z *zones) load(name string) (*time.Location, error) {
	if name == "" || name == "UTC" {
		return time.UTC, nil
	}
	known := z.known[name]
	if known == nil {
		known = &zone{stamp: zoneStamp(name)} // before the rules are read, lest they change in between
		if z.known == nil {
			z.known = map[string]*zone{}
		}
		z.known[name] = known
	}
	if known.rules != nil {
		return known.rules, nil
	}
	rules, err := time.LoadLocation(name)
	known.rules = rules
	return rules, err
}

// changed says whether the rules of a zone in use are others than when it was last asked.
func (z *zones) changed(now time.Time) bool {
	if since := now.Sub(z.looked); since >= 0 && since < tick {
		return false
	}
	z.looked = now
	changed := false
	for name, before := range z.known {
		if stamp := zoneStamp(name); stamp != before.stamp {
			z.known[name] = &zone{stamp: stamp}
			changed = true
		}
	}
	return changed
}

func zoneStamp(name string) string {
	for _, dir := range zoneDirs() {
		if dir == "" {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		return fmt.Sprint(dir, info.ModTime().UnixNano(), info.Size(), inodeOf(info))
	}
	return "" // from the program itself
}
