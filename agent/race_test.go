//go:build race

package agent

// raced says that the race detector looks on.
const raced = true
