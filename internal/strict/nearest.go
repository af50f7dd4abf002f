package strict

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// nearest hints at the known key that a person most likely meant; "" if none is near.
func nearest(word string, known map[string]int) string {
	word = strings.ToLower(word)
	names := slices.Sorted(maps.Keys(known))
	best, least := "", 1+len(word)/3
	for _, name := range names {
		if n := distance(word, name); n <= least && (best == "" || n < least) {
			best, least = name, n
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}

// distance is the number of insertions, deletions, changes and swaps of neighbours that make a into b (the optimal string
// alignment distance).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var rows [3][66]int
	for j := range len(b) + 1 {
		rows[1][j] = j
	}
	for i := range len(a) {
		before, last, row := &rows[i%3], &rows[(i+1)%3], &rows[(i+2)%3]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
