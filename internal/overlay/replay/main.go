// Command replay writes the overlay, into the folder that it is given, of a Go in which what happens in a testing/synctest bubble
// is the same each time that it happens, and prints its name. It wants GOMAXPROCS=1 and no garbage collection meanwhile.
//
// What differs from run to run in Go as it is: which of a select's cases is taken when several are ready, the order of timers
// that are due at one instant, where the walk over a map begins and where its keys lie, global random numbers, in which order a
// context cancels what came of it; and, by the machine's clock, that a goroutine has to stand aside when it has run or was in a
// system call for too long, and that one which waits for a mutex for too long goes first.
//
// What stays is a map of more than eight pointers that is walked: where they lie is no part of the story. There must be none.
package main

import (
	"fmt"
	"os"
	"slices"

	"crony/internal/overlay"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "replay: name the folder for the overlay")
		os.Exit(2)
	}
	err := os.MkdirAll(os.Args[1], 0o700)
	var name string
	if err == nil {
		edits := slices.Concat(randomness(), turns(), others())
		name, err = overlay.Write(os.Args[1], edits, map[string]string{"runtime/replay.go": added})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
	fmt.Println(name)
}

// The edits are those of Go 1.26.

// randomness has a bubble have random numbers of its own: what goes on beside it takes none of them. Nor do maps, which have the
// same all through an instant: how many are made depends on what is kept from story to story, such as what encoding/json knows of
// a type.
func randomness() []overlay.Edit {
	return []overlay.Edit{
		{File: "runtime/synctest.go",
			Old: "\tid      uint64 // unique id\n",
			New: "\tid      uint64 // unique id\n\tseed    uint64 // of its random numbers\n\trandom  uint64 // state of them\n"},
		{File: "runtime/synctest.go",
			Old: "\tbubble := &synctestBubble{\n",
			New: "\tbubble := &synctestBubble{\n\t\tseed: bubbleSeed, random: bubbleSeed,\n"},
		{File: "runtime/rand.go",
			Old: "\tmp := getg().m\n\tc := &mp.chacha8\n",
			New: "\tif bubble := getg().bubble; bubble != nil {\n\t\treturn splitMix(bubble.seed ^ uint64(bubble.now))\n\t}\n" +
				"\tmp := getg().m\n\tc := &mp.chacha8\n"},
		{File: "math/rand/rand.go",
			Old: "//go:linkname runtime_rand runtime.rand\n",
			New: "//go:linkname runtime_rand runtime.bubbleRand\n"},
		{File: "math/rand/v2/rand.go",
			Old: "//go:linkname runtime_rand runtime.rand\n",
			New: "//go:linkname runtime_rand runtime.bubbleRand\n"},
		{File: "os/tempfile.go",
			Old: "//go:linkname runtime_rand runtime.rand\n",
			New: "//go:linkname runtime_rand runtime.bubbleRand\n"},
		{File: "runtime/select.go",
			Old: "\t\tj := cheaprandn(uint32(norder + 1))\n",
			New: "\t\tj := bubbleRandn(uint32(norder + 1))\n"},
		{File: "runtime/time.go",
			Old: "\t\t\tt.rand = cheaprand()\n",
			New: "\t\t\tt.rand = getg().bubble.rand32()\n"},
		// The hashes of what was there before it.
		{File: "runtime/rand.go",
			Old: "func maps_rand() uint64 {\n",
			New: "func maps_rand() uint64 {\n\tif getg().bubble == nil {\n\t\treturn 0\n\t}\n"},
		{File: "runtime/rand.go",
			Old: "\tglobalRand.state.Init(*seed)\n",
			New: "\t*seed = [32]byte{}\n\tglobalRand.state.Init(*seed)\n"},
	}
}

// turns has whoever runs go on until it waits. After a minute it is in an endless loop, and the test's timeout must get its turn.
func turns() []overlay.Edit {
	return []overlay.Edit{
		{File: "runtime/proc.go",
			Old: "const forcePreemptNS = 10 * 1000 * 1000 // 10ms\n",
			New: "const forcePreemptNS = 60 * 1000 * 1000 * 1000\n"},
		{File: "runtime/proc.go",
			Old: "syst := int64(pp.syscalltick); !sysretake && int64(pd.syscalltick) != syst {",
			New: "syst := int64(pp.syscalltick); !sysretake {"},
		{File: "internal/sync/mutex.go",
			Old: "\tstarvationThresholdNs = 1e6\n",
			New: "\tstarvationThresholdNs = 1 << 62\n"},
	}
}

func others() []overlay.Edit {
	return []overlay.Edit{
		// Without collections it is not known how much stack goroutines need; a tenth of the time would go into having it grow.
		{File: "runtime/stack.go",
			Old: "var startingStackSize uint32 = fixedStack\n",
			New: "var startingStackSize uint32 = 16 << 10\n"},
		{File: "runtime/stack.go",
			Old: "func gcComputeStartingStackSize() {\n",
			New: "func gcComputeStartingStackSize() {\n\tif startingStackSize > fixedStack {\n\t\treturn\n\t}\n"},
		// A map of pointers has them by their addresses.
		{File: "context/context.go",
			Old: "\tchildren map[canceler]struct{} // set to nil by the first cancel call\n",
			New: "\tchildren map[canceler]uint64 // set to nil by the first cancel call\n\tnewest   uint64\n"},
		{File: "context/context.go",
			Old: "\t\t\t\tp.children = make(map[canceler]struct{})\n\t\t\t}\n\t\t\tp.children[child] = struct{}{}\n",
			New: "\t\t\t\tp.children = make(map[canceler]uint64)\n\t\t\t}\n\t\t\tp.newest++\n\t\t\tp.children[child] = p.newest\n"},
		{File: "context/context.go",
			Old: "\tfor child := range c.children {\n",
			New: "\tfor len(c.children) > 0 {\n\t\tvar child canceler\n\t\tfor other, n := range c.children {\n" +
				"\t\t\tif child == nil || n < c.children[child] {\n\t\t\t\tchild = other\n\t\t\t}\n\t\t}\n\t\tdelete(c.children, child)\n"},
	}
}

const added = `package runtime

import _ "unsafe" // for the linkname

// bubbleSeed is what the random numbers of the next bubble begin with.
var bubbleSeed uint64

//go:linkname seedBubbles
func seedBubbles(seed uint64) { bubbleSeed = seed }

//go:linkname bubbleRand
func bubbleRand() uint64 {
	if b := getg().bubble; b != nil {
		return b.rand()
	}
	return rand()
}

func (b *synctestBubble) rand() uint64 {
	b.random += 0x9e3779b97f4a7c15
	return splitMix(b.random)
}

func (b *synctestBubble) rand32() uint32 { return uint32(b.rand() >> 32) }

//go:nosplit
func splitMix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func bubbleRandn(n uint32) uint32 {
	if b := getg().bubble; b != nil {
		return uint32((uint64(b.rand32()) * uint64(n)) >> 32)
	}
	return cheaprandn(n)
}
`
