// Package version says what a binary was built from: its version, its source revision and its toolchain.
//
// The one thing to know: a release sets the version when it links (`-ldflags "-X crony/internal/version.release=v1.2.3"`);
// any other build takes it from what the go command recorded, and is "devel" if that is nothing.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

var release string //nolint:gochecknoglobals // the linker can set nothing but a package's variable

// Info is what a binary was built from.
type Info struct {
	Version  string `json:"version"`            // v1.2.3, a pseudo-version, or devel
	Revision string `json:"revision,omitempty"` // of the source, "" if not known
	Modified bool   `json:"modified,omitempty"` // the source had changes that are not in Revision
	Go       string `json:"go"`                 // go1.26.0
	Platform string `json:"platform"`           // linux/amd64
}

// Read returns what the running binary was built from.
func Read() Info {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return read(release, build)
}

func read(release string, build *debug.BuildInfo) Info {
	info := Info{Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info.Version == "" {
		info.Version = build.Main.Version
	}
	if info.Version == "" || info.Version == "(devel)" {
		info.Version = "devel"
	}
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Revision = s.Value
		case "vcs.modified":
			info.Modified = s.Value == "true"
		}
	}
	return info
}

// String is the info on one line: "v1.2.3 revision 8b4b4e9d3c1f go1.26.0 linux/amd64".
func (i Info) String() string {
	var b strings.Builder
	b.WriteString(i.Version)
	if i.Revision != "" {
		fmt.Fprintf(&b, " revision %.12s", i.Revision)
	}
	if i.Modified {
		b.WriteString(" (modified)")
	}
	b.WriteString(" " + i.Go + " " + i.Platform)
	return b.String()
}
