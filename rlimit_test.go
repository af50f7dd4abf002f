package crony

import (
	"encoding/json"
	"maps"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRlimitValue(t *testing.T) {
	for text, want := range map[Rlimit]uint64{
		"0": 0, "1024": 1024, "64MiB": 64 << 20, "8B": 8, "unlimited": math.MaxUint64, "9007199254740992": maxRlimit,
	} {
		if got, err := text.Value(); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []Rlimit{"", "-1", "01", "+1", "1.5", "1e3", "0x10", "64MB", "Unlimited", "infinity", "9007199254740993", "8193TiB"} {
		if got, err := text.Value(); err == nil {
			t.Errorf("%s is taken for %d", text, got)
		}
	}
}

// TestRlimitsAll lists the given ones, and only these.
func TestRlimitsAll(t *testing.T) {
	l := &Rlimits{Core: "0", NoFile: "256", Stack: Unlimited}
	want := map[string]Rlimit{"core": "0", "nofile": "256", "stack": Unlimited}
	if diff := cmp.Diff(want, maps.Collect(l.All())); diff != "" {
		t.Error(diff)
	}
	for name := range (*Rlimits)(nil).All() {
		t.Errorf("%s of none", name)
	}
	fields := map[string]any{}
	every, err := json.Marshal(Rlimits{"1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1", "1"})
	if err == nil {
		err = json.Unmarshal(every, &fields)
	}
	kinds := l.kinds()
	if err != nil || len(fields) != len(kinds) {
		t.Fatalf("%d keys, %d kinds, %v", len(fields), len(kinds), err)
	}
	for _, k := range kinds {
		if fields[k.name] != 1.0 {
			t.Errorf("%s is %v", k.name, fields[k.name])
		}
	}
}

// FuzzRlimit reads limits as JSON has them: what means something is written as it was read.
func FuzzRlimit(f *testing.F) {
	for _, text := range []string{`1024`, `"64MiB"`, `"unlimited"`, `"1024"`, `-1`, `1e3`, `null`, `true`, `"\ud800"`, `"007"`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var l, again Rlimit
		if json.Unmarshal(data, &l) != nil {
			return
		}
		out, err := json.Marshal(l)
		if err == nil {
			err = json.Unmarshal(out, &again)
		}
		if err != nil || l != again {
			t.Fatalf("%q is %q, and again %q: %v", data, l, again, err)
		}
		if n, err := l.Value(); err == nil && n > maxRlimit && l != Unlimited {
			t.Errorf("%q is %d", data, n)
		}
	})
}
