package crony

import (
	"context"
	"time"
)

// OutputSearch finds text in the kept output of runs. It is safe for concurrent use.
type OutputSearch interface {
	// SearchOutput looks through the output of the runs that q selects, the newest run first, and returns the lines that
	// match. What one call may read is bounded: a page may be shorter than asked, or empty, and still have a next one.
	// Invalid if q can't be right: both or neither of Text and Pattern, or a pattern that is none.
	SearchOutput(ctx context.Context, q OutputQuery) (OutputPage, error)
}

// OutputQuery says what to look for, and in which runs. Exactly one of Text and Pattern is set.
type OutputQuery struct {
	Runs    RunQuery // whose output; its Limit, Cursor and Count are not looked at
	Text    string   // these bytes, in this case
	Pattern string   // a regular expression (RE2: https://github.com/google/re2/wiki/Syntax), matched line by line
	Limit   int      // at most this many hits; [DefaultLimit] if 0
	Cursor  string   // OutputPage.Next of the page before
	Context int      // lines before and after each hit; at most [MaxContext]
}

// MaxContext is how many lines a hit may have on each side.
const MaxContext = 5

// OutputHit is a line that matches.
type OutputHit struct {
	Run     RunID     `json:"run"`
	Job     string    `json:"job"`
	Agent   string    `json:"agent"`
	Attempt int       `json:"attempt"`
	Stream  Stream    `json:"stream"`
	Offset  int64     `json:"offset"` // of the line's first byte, in all that the process wrote to the stream
	At      time.Time `json:"at"`     // when it was read
	Line    string    `json:"line"`   // without its end, cut around the match if it is long; what is not UTF-8 is replaced
	Match   [2]int    `json:"match"`  // where the first match in Line begins and ends, in bytes
	Before  []string  `json:"before,omitempty"`
	After   []string  `json:"after,omitempty"`
}

// OutputPage is a page of hits.
type OutputPage struct {
	Items   []OutputHit `json:"items"`
	Next    string      `json:"next,omitempty"` // "" on the last page
	Runs    int         `json:"runs"`           // whose output was looked at for this page
	Bytes   int64       `json:"bytes"`          // of output that were
	Reached time.Time   `json:"reached,omitzero"`
}
