//go:build replay

package agent

import _ "unsafe" // for the linkname

// replays says that what happens in a bubble is the same each time: `make sim` has the Go for that.
const replays = true

// seedBubbles says what the random numbers of the next bubble begin with.
//
//go:linkname seedBubbles runtime.seedBubbles
func seedBubbles(seed uint64)
