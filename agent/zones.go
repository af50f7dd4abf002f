package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"crony"
)

// zones watches the files with the rules of the time zones that jobs name: a host that is upgraded gets new ones while the
// agent runs. It looks no oftener than the loop ticks.
type zones struct {
	stamps map[string]string // by name: what tells one state of its file from another
	looked time.Time
}

// zoneDirs are where Go looks for rules, on Linux, before it takes those in the program. The variable ZONEINFO comes first.
func zoneDirs() []string {
	return []string{os.Getenv("ZONEINFO"), "/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"}
}

// use adds the zones that a job names. Their rules have just been read.
func (z *zones) use(def *crony.Definition) {
	for _, e := range def.Job.Entries() {
		z.add(e.Zone())
	}
	for _, c := range def.Calendars {
		z.add(c.Timezone)
	}
}

func (z *zones) add(name string) {
	if _, known := z.stamps[name]; known || name == "" || name == "UTC" {
		return
	}
	if z.stamps == nil {
		z.stamps = map[string]string{}
	}
	z.stamps[name] = zoneStamp(name)
}

// changed says whether the rules of a zone in use are others than when it was last asked.
func (z *zones) changed(now time.Time) bool {
	if since := now.Sub(z.looked); since >= 0 && since < tick {
		return false
	}
	z.looked = now
	changed := false
	for name, before := range z.stamps {
		if stamp := zoneStamp(name); stamp != before {
			z.stamps[name] = stamp
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
		inode := uint64(0)
		if sys, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = sys.Ino
		}
		return fmt.Sprint(dir, info.ModTime().UnixNano(), info.Size(), inode)
	}
	return "" // from the program itself
}
