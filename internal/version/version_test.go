package version

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestRead(t *testing.T) {
	vcs := []debug.BuildSetting{
		{Key: "vcs", Value: "git"},
		{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"},
		{Key: "vcs.modified", Value: "true"},
	}
	tail := " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	for _, tt := range []struct {
		name    string
		release string
		build   debug.BuildInfo
		want    string
	}{
		{"nothing is known", "", debug.BuildInfo{}, "devel" + tail},
		{"the go command's placeholder", "", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "devel" + tail},
		{"a module's version", "", debug.BuildInfo{Main: debug.Module{Version: "v0.3.0"}}, "v0.3.0" + tail},
		{"the linker's word is final", "v1.2.3", debug.BuildInfo{Main: debug.Module{Version: "v0.3.0"}}, "v1.2.3" + tail},
		{"a changed checkout", "", debug.BuildInfo{Settings: vcs}, "devel revision 0123456789ab (modified)" + tail},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := read(tt.release, &tt.build).String(); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestReadOfThisBinary(t *testing.T) {
	if got := Read(); got.Version == "" || got.Go != runtime.Version() {
		t.Errorf("got %+v", got)
	}
}
