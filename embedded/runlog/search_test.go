package runlog

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/storetest"
)

// piece is output without a hole.
type piece struct {
	run     crony.RunID
	attempt int
	stream  crony.Stream
	from    int64
	data    []byte
}

// TestSearchIsTheNaiveOne searches random output, stored in random chunks, with budgets and windows of a few bytes, and holds
// all pages together against a search that has everything before it at once.
func TestSearchIsTheNaiveOne(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { compareSearches(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func FuzzSearch(f *testing.F) {
	f.Add(uint64(0x47), uint64(0x2c))
	f.Fuzz(func(t *testing.T, a, b uint64) { compareSearches(t, rand.New(rand.NewPCG(a, b))) })
}

func compareSearches(t *testing.T, rng *rand.Rand) {
	l := openTest(t, Options{})
	pieces := randomOutput(t, l, rng)
	for range 12 {
		q := randomQuestion(rng)
		limits := searchLimits{
			bytes: 1 + rng.IntN(40), runs: 1 + rng.IntN(3), time: time.Minute, fill: 1 + rng.IntN(60),
			line: 1 + rng.IntN(50), shown: 1 + rng.IntN(20), context: 1 + rng.IntN(10),
		}
		limits.span = max(limits.line, limits.shown) + rng.IntN(20)
		want := naiveSearch(t, pieces, q, &limits)
		got, seen := pagesOf(t, l, q, limits)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%+v, %+v (-naive +got):\n%s", q, limits, diff)
		}
		total := 0
		for _, p := range pieces {
			total += len(p.data)
		}
		if seen != int64(total) {
			t.Errorf("%+v: looked at %d bytes of %d", limits, seen, total)
		}
	}
}

func pagesOf(t *testing.T, l *Log, q crony.OutputQuery, limits searchLimits) (hits []crony.OutputHit, seen int64) {
	t.Helper()
	for pages := 0; ; pages++ {
		page, err := l.searchOutput(t.Context(), q, limits)
		if err != nil || pages > 20_000 {
			t.Fatalf("page %d: %v", pages, err)
		}
		if len(page.Items) > q.Limit {
			t.Fatalf("%d hits on a page of %d", len(page.Items), q.Limit)
		}
		hits, seen = append(hits, page.Items...), seen+page.Bytes
		if page.Next == "" {
			return hits, seen
		}
		if page.Next == q.Cursor {
			t.Fatalf("page %d goes on where it began: %s", pages, page.Next)
		}
		q.Cursor = page.Next
	}
}

func randomQuestion(rng *rand.Rand) crony.OutputQuery {
	q := crony.OutputQuery{Context: rng.IntN(4), Limit: 1 + rng.IntN(5)}
	if questions := []string{"a", "ab", "aa", "abab", "b\r", "\r", "zz", "世", "aabbaa"}; rng.IntN(2) == 0 {
		q.Text = questions[rng.IntN(len(questions))]
		return q
	}
	patterns := []string{"a+b", "^a", "b$", "^$", "x*", "a.a", "ab|ba", "(?i)AB", "ab.*b", "zz", "^.{3}$", "世", ".ab", "\\x{FFFD}", "abab",
		"(?i)Bk?A", "(?i)aabb.*A", "(?i:B)a", "(?i)世A"}
	q.Pattern = patterns[rng.IntN(len(patterns))]
	return q
}

// randomOutput appends runs with output, and returns it in the order of a search.
func randomOutput(t *testing.T, l *Log, rng *rand.Rand) (pieces []piece) {
	for n := range 1 + rng.IntN(4) {
		id := runAt(noon().Add(-time.Duration(n) * 9 * time.Hour))
		mustAppend(t, l, storetest.Life(id, "backup", "a1", crony.Succeeded), nil)
		for attempt := 1; attempt <= 1+rng.IntN(2); attempt++ {
			for _, stream := range []crony.Stream{crony.Stdout, crony.Stderr} {
				from := int64(rng.IntN(2) * rng.IntN(30))
				for range rng.IntN(3) {
					p := piece{id, attempt, stream, from, randomText(rng)}
					if from += int64(len(p.data)) + 1 + int64(rng.IntN(50)); len(p.data) > 0 {
						pieces = append(pieces, p)
						mustAppend(t, l, nil, cutRandomly(rng, p))
					}
				}
			}
		}
	}
	return pieces
}

func randomText(rng *rand.Rand) []byte {
	words := []string{"a", "b", "ab", "\n", "\n", "\r\n", "\r", "世", "\xff", " ", "aabbaabbaa"}
	if rng.IntN(4) == 0 {
		words = words[:3] // long lines
	}
	var b []byte
	for range rng.IntN(120) {
		b = append(b, words[rng.IntN(len(words))]...)
	}
	return b
}

// cutRandomly returns chunks that cover the piece, some of them more than once.
func cutRandomly(rng *rand.Rand, p piece) (chunks []crony.Chunk) {
	add := func(from, to int) {
		chunks = append(chunks, crony.Chunk{Run: p.run, Attempt: p.attempt, Stream: p.stream, Offset: p.from + int64(from),
			At: noon(), Data: p.data[from:to]})
	}
	taken := map[int]bool{}
	for at := 0; at < len(p.data); {
		to := min(len(p.data), at+1+rng.IntN(1+rng.IntN(60)))
		add(at, to)
		taken[at], at = true, to
	}
	for range rng.IntN(4) {
		if from := rng.IntN(len(p.data)); !taken[from] {
			add(from, min(len(p.data), from+1+rng.IntN(60)))
			taken[from] = true
		}
	}
	rng.Shuffle(len(chunks), func(i, j int) { chunks[i], chunks[j] = chunks[j], chunks[i] })
	return chunks
}

// textLine is a line of a piece.
type textLine struct {
	from, to, next int // without and with its end
}

func linesOf(data []byte) (lines []textLine) {
	for at := 0; at < len(data); {
		l := textLine{at, len(data), len(data)}
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			l.to, l.next = at+i, at+i+1
			if l.to > l.from && data[l.to-1] == '\r' {
				l.to--
			}
		}
		lines = append(lines, l)
		at = l.next
	}
	return lines
}

func naiveSearch(t *testing.T, pieces []piece, q crony.OutputQuery, limits *searchLimits) (hits []crony.OutputHit) {
	t.Helper()
	find := func(line []byte) []int {
		i := bytes.Index(line, []byte(q.Text))
		return []int{i, i + len(q.Text)}
	}
	if q.Pattern != "" {
		re := regexp.MustCompile(q.Pattern)
		find = func(line []byte) []int { return naivePieces(re, line, limits.line) }
		if literal, whole := re.LiteralPrefix(); whole && literal != "\uFFFD" {
			find = func(line []byte) []int { return re.FindIndex(line) }
		}
	}
	for _, p := range pieces {
		lines := linesOf(p.data)
		for i, l := range lines {
			match := find(p.data[l.from:l.to])
			if match == nil || match[0] < 0 {
				continue
			}
			h := crony.OutputHit{Run: p.run, Job: "backup", Agent: "a1", Attempt: p.attempt, Stream: p.stream,
				Offset: p.from + int64(l.from), At: noon()}
			h.Line, h.Match = cutAround(p.data[l.from:l.to], match[0], match[1], limits.shown)
			if !isLong(p.data, l, limits) {
				h.Before, h.After = naiveContext(p.data, lines, i, q.Context, limits)
			}
			hits = append(hits, h)
		}
	}
	return hits
}

// isLong counts what ends the line but its last byte, as a line that is not whole has none.
func isLong(data []byte, l textLine, limits *searchLimits) bool {
	end := l.next
	if end > l.from && data[end-1] == '\n' {
		end--
	}
	return end-l.from > limits.line
}

func naivePieces(re *regexp.Regexp, line []byte, size int) []int {
	for at := 0; at == 0 || at < len(line); at += size {
		if m := re.FindIndex(line[at:min(at+size, len(line))]); m != nil {
			return []int{at + m[0], at + m[1]}
		}
	}
	return nil
}

func naiveContext(data []byte, lines []textLine, i, around int, limits *searchLimits) (before, after []string) {
	for j := i - 1; j >= max(0, i-around) && lines[i].from-lines[j].from < limits.span; j-- {
		before = append(before, naiveShown(data[lines[j].from:lines[j].to], limits))
	}
	slices.Reverse(before)
	for j := i + 1; j <= min(len(lines)-1, i+around) && lines[j].from-lines[i].next < limits.span; j++ {
		after = append(after, naiveShown(data[lines[j].from:lines[j].to], limits))
	}
	return before, after
}

func naiveShown(line []byte, limits *searchLimits) string {
	return strings.ToValidUTF8(string(line[:runeBefore(line, min(len(line), limits.context), 0)]), "\uFFFD")
}
