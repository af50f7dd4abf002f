//go:build !replay

package agent

// replays says that what happens in a bubble is the same each time: `make sim` has the Go for that.
const replays = false

func seedBubbles(uint64) {}
