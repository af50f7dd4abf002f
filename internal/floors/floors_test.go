// Package floors holds the house to its plan: each package stands on a floor and imports only from lower ones, and what is
// foreign stays in the rooms that were given to it. There is nothing here but the test.
//
// The one thing to know: the plan is the tables at the head of this file, and a new package needs a line in house. What test
// files import is their own affair.
package floors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	root  = "crony" // the module, and its root package
	agent = "crony/cmd/crony-agent"
	tests = 7 // the floor above the roof, of packages that only tests import
)

// house is the floor of each package.
func house() map[string]int {
	return map[string]int{
		"crony/internal/floors":      tests,
		"crony/internal/testcluster": tests,
		"crony/internal/testhosts":   tests,
		"crony/internal/judge":       tests,
		"crony/internal/storetest":   tests,
		"crony/embedded/fakeetcd":    tests,

		"crony/internal/testhosts/answerer": tests,
		"crony/internal/testhosts/witness":  tests,
		"crony/internal/overlay/replay":     tests,

		"crony/cmd/crony":       6,
		"crony/cmd/crony-agent": 6,

		"crony/docs/examples/go-callee": 6,

		"crony/appliance": 5,

		"crony/appliance/alert":     4,
		"crony/appliance/backup":    4,
		"crony/appliance/callbacks": 4,
		"crony/appliance/hub":       4,
		"crony/appliance/ledger":    4,
		"crony/appliance/locks":     4,
		"crony/appliance/orders":    4,
		"crony/appliance/lost":      4,
		"crony/appliance/peers":     4,
		"crony/appliance/placement": 4,
		"crony/appliance/replica":   4,
		"crony/appliance/upkeep":    4,
		"crony/agent":               4,
		"crony/webui":               4,
		"crony/webui/api":           4,

		"crony/agent/callback":  3,
		"crony/embedded/runlog": 3,
		"crony/embedded/state":  3,
		"crony/sdk":             3,
		"crony/sdk/callee":      3,

		"crony/embedded/member": 2,
		"crony/internal/wire":   2,

		"crony":              1,
		"crony/internal/pki": 1,

		"crony/internal/boltfile":  0,
		"crony/internal/durable":   0,
		"crony/internal/lifecycle": 0,
		"crony/internal/methods":   0,
		"crony/internal/overlay":   0,
		"crony/internal/schedule":  0,
		"crony/internal/selector":  0,
		"crony/internal/strict":    0,
		"crony/internal/version":   0,
		"crony/internal/zaplog":    0,
	}
}

// fence keeps foreign packages in some of the rooms. A path stands for all that is under it.
type fence struct {
	foreign string
	rooms   []string
}

func fences() []fence {
	return []fence{
		{"go.etcd.io/etcd", []string{"crony/embedded"}},
		{"go.etcd.io/bbolt", []string{"crony/embedded/runlog"}},
		{"filippo.io/age", []string{"crony/appliance/backup"}},
		{"github.com/gofiber/fiber", []string{"crony/webui"}},
		{"github.com/valyala/fasthttp", []string{"crony/webui"}},
		{"google.golang.org/grpc", []string{"crony/embedded/fakeetcd", "crony/internal/wire", "crony/appliance/hub", "crony/appliance/peers",
			"crony/agent"}},
		{"go.uber.org/zap", []string{"crony/internal/zaplog", "crony/embedded"}},
	}
}

// notInAgent is what must not reach the agent's binary by any way: hosts with agents are many, and often small.
func notInAgent() []string {
	return []string{"go.etcd.io", "github.com/gofiber", "github.com/valyala"}
}

// onlyStd are those that share no code with what they judge.
func onlyStd() []string {
	return []string{"crony/internal/judge"}
}

// besideStd is all that the root package imports besides the standard library.
func besideStd() []string {
	return []string{"crony/internal/methods", "crony/internal/schedule", "crony/internal/selector", "crony/internal/strict",
		"github.com/oklog/ulid/v2"}
}

func TestFloors(t *testing.T) {
	packages := list(t)
	for _, name := range append(onlyStd(), root, agent, "crony/sdk") {
		if _, ok := packages[name]; !ok {
			t.Errorf("there is no package %s: a rule below speaks of it, and would hold for nothing", name)
		}
	}
	for _, fault := range faults(packages, house()) {
		t.Error(fault)
	}
}

// pkg is a package as `go list` knows it.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string // of its files that are no tests
	Module     *struct {
		Path string
		Main bool
	}
}

func (p pkg) ours() bool    { return p.Module != nil && p.Module.Main }
func (p pkg) foreign() bool { return p.Module != nil && !p.Module.Main }

// list returns the packages of the module and all that they depend on.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	watchSources(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports,Module", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &complaint)
	}
	packages := map[string]pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("read go list's answer: %v", err)
		}
		packages[p.ImportPath] = p
	}
}

// watchSources looks into every folder of the sources. The go command repeats a test's old result while all that the test
// itself has read is unchanged, and it does not see what `go list` reads.
func watchSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join("..", ".."), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.Contains([]string{".git", "bin", "data", "dist", "node_modules"}, d.Name()) {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatalf("walk the sources: %v", err)
	}
}

// faults says where packages break the plan, sorted.
func faults(packages map[string]pkg, house map[string]int) []string {
	var found []string
	for _, p := range packages {
		if !p.ours() {
			continue
		}
		found = append(found, floorFaults(p, packages, house)...)
		found = append(found, fenceFaults(p)...)
	}
	found = append(found, rootFaults(packages)...)
	found = append(found, judgeFaults(packages)...)
	found = append(found, sdkFaults(packages)...)
	found = append(found, agentFaults(packages)...)
	slices.Sort(found)
	return found
}

func floorFaults(p pkg, packages map[string]pkg, house map[string]int) []string {
	floor, ok := house[p.ImportPath]
	if !ok {
		return []string{fmt.Sprintf("%s has no floor yet: give it one in house(), internal/floors/floors_test.go; "+
			"it is above floor %d, where the highest package that it imports stands", p.ImportPath, highest(p, house))}
	}
	var found []string
	for _, name := range p.Imports {
		below, ok := house[name]
		switch {
		case !packages[name].ours(), !ok: // one without a floor is a fault of its own
		case below == tests:
			found = append(found, fmt.Sprintf("%s imports %s, which is for test files only", p.ImportPath, name))
		case below >= floor && !within(name, p.ImportPath):
			found = append(found, fmt.Sprintf("%s (floor %d) imports %s (floor %d), but imports go down: move what both need "+
				"to a lower floor, or declare an interface in %[1]s that a higher floor fills", p.ImportPath, floor, name, below))
		}
	}
	return found
}

func highest(p pkg, house map[string]int) int {
	top := -1
	for _, name := range p.Imports {
		if floor, ok := house[name]; ok {
			top = max(top, floor)
		}
	}
	return top
}

func fenceFaults(p pkg) []string {
	var found []string
	for _, f := range fences() {
		inside := slices.ContainsFunc(f.rooms, func(room string) bool { return within(p.ImportPath, room) })
		for _, name := range p.Imports {
			if !inside && within(name, f.foreign) {
				found = append(found, fmt.Sprintf("%s imports %s, which belongs in %s alone: ask for what you need by an interface",
					p.ImportPath, name, strings.Join(f.rooms, ", ")))
			}
		}
	}
	return found
}

func rootFaults(packages map[string]pkg) []string {
	var found []string
	for _, name := range packages[root].Imports {
		if !packages[name].Standard && !slices.Contains(besideStd(), name) {
			found = append(found, fmt.Sprintf("the root package imports %s: the domain needs the standard library, %s",
				name, strings.Join(besideStd(), " and ")))
		}
	}
	return found
}

func judgeFaults(packages map[string]pkg) []string {
	var found []string
	for _, judge := range onlyStd() {
		for _, name := range packages[judge].Imports {
			if !packages[name].Standard {
				found = append(found, fmt.Sprintf("%s imports %s, and is to judge by the standard library alone", judge, name))
			}
		}
	}
	return found
}

// sdkFaults keeps the module graph of who uses the sdk small: it needs no module that the domain does not need.
func sdkFaults(packages map[string]pkg) []string {
	allowed := map[string]bool{}
	for name := range reach(packages, root) {
		if p := packages[name]; p.foreign() {
			allowed[p.Module.Path] = true
		}
	}
	var found []string
	for name, by := range reach(packages, "crony/sdk") {
		if p := packages[name]; p.foreign() && !allowed[p.Module.Path] {
			found = append(found, fmt.Sprintf("the sdk needs %s (by %s), of a module that the root package does without", name, by))
		}
	}
	return found
}

func agentFaults(packages map[string]pkg) []string {
	var found []string
	for name, by := range reach(packages, agent) {
		if slices.ContainsFunc(notInAgent(), func(f string) bool { return within(name, f) }) {
			found = append(found, fmt.Sprintf("%s needs %s (by %s), which has no place on an agent's host", agent, name, by))
		}
	}
	return found
}

// reach returns all that a package depends on, each with a package that imports it.
func reach(packages map[string]pkg, from string) map[string]string {
	by := map[string]string{}
	for todo := []string{from}; len(todo) > 0; {
		importer := todo[0]
		todo = todo[1:]
		for _, name := range packages[importer].Imports {
			if _, seen := by[name]; !seen {
				by[name] = importer
				todo = append(todo, name)
			}
		}
	}
	return by
}

// within says if a package is the one at path, or under it.
func within(name, path string) bool {
	return name == path || strings.HasPrefix(name, path+"/")
}

// Each rule bites: one wrong import in a small house is one fault.
func TestFaults(t *testing.T) {
	good := map[string][]string{
		"crony":                    {"fmt", "crony/internal/schedule", "github.com/oklog/ulid/v2"},
		"crony/internal/schedule":  {"fmt"},
		"crony/internal/storetest": {"crony", "testing"},
		"crony/internal/judge":     {"fmt"},
		"crony/internal/wire":      {"crony", "google.golang.org/grpc"},
		"crony/sdk":                {"crony"},
		"crony/embedded/state":     {"crony", "go.etcd.io/etcd/client/v3"},
		"crony/agent":              {"crony", "crony/internal/wire"},
		"crony/webui":              {"crony", "crony/webui/api"},
		"crony/webui/api":          {"crony", "github.com/gofiber/fiber/v2"},
		agent:                      {"crony/agent"},
	}
	for _, tt := range []struct{ name, importer, imports, want string }{
		{name: "the plan as it is"},
		{"up", "crony/internal/wire", "crony/agent", "crony/internal/wire (floor 2) imports crony/agent (floor 4), but"},
		{"across", "crony/webui", "crony/agent", "crony/webui (floor 4) imports crony/agent (floor 4), but imports go down"},
		{"out of its own room", "crony/webui/api", "crony/webui", "crony/webui/api (floor 4) imports crony/webui (floor 4), "},
		{"tests' own", "crony/agent", "crony/internal/storetest", "crony/agent imports crony/internal/storetest, which is"},
		{"no floor", "crony/attic", "crony/agent", "crony/attic has no floor yet: give it one in house(), "},
		{"a fence", "crony/agent", "go.uber.org/zap", "crony/agent imports go.uber.org/zap, which belongs in crony/"},
		{"the domain", "crony", "example.org/yaml", "the root package imports example.org/yaml: the domain needs"},
		{"the judge", "crony/internal/judge", "crony/internal/schedule", "crony/internal/judge imports crony/internal/schedule, and"},
		{"the sdk", "crony/sdk", "example.org/http", "the sdk needs example.org/http (by crony/sdk), of a module"},
		{"the agent", "crony/internal/wire", "go.etcd.io/raft/v3", "crony/cmd/crony-agent needs go.etcd.io/raft/v3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			imports := maps.Clone(good)
			imports[tt.importer] = append(slices.Clone(imports[tt.importer]), tt.imports)
			var want, got []string
			if tt.want != "" {
				want = []string{tt.want}
			} else {
				imports = good
			}
			for _, fault := range faults(invent(imports), house()) {
				got = append(got, fault[:min(len(fault), len(tt.want))])
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// invent makes packages from their imports; one without imports is foreign or, without a dot, of the standard library.
func invent(imports map[string][]string) map[string]pkg {
	packages := map[string]pkg{}
	add := func(name string, main bool) {
		p := pkg{ImportPath: name, Imports: imports[name]}
		if p.Standard = !main && !strings.Contains(name, "."); !p.Standard {
			p.Module = &struct {
				Path string
				Main bool
			}{name, main}
		}
		packages[name] = p
	}
	for _, names := range imports {
		for _, name := range names {
			add(name, false)
		}
	}
	for name := range imports {
		add(name, true)
	}
	return packages
}
