package runlog

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"crony"
	"crony/internal/storetest"
)

var _ crony.OutputSearch = (*Log)(nil)

func TestSearchRefuses(t *testing.T) {
	l := openTest(t, Options{})
	for name, q := range map[string]crony.OutputQuery{
		"neither":              {},
		"both":                 {Text: "a", Pattern: "a"},
		"two lines":            {Text: "a\nb"},
		"a long text":          {Text: strings.Repeat("a", maxText+1)},
		"no pattern":           {Pattern: "a("},
		"a large pattern":      {Pattern: "(a{500}b){2}" + strings.Repeat("[ab]{1000}", 4)},
		"context":              {Text: "a", Context: crony.MaxContext + 1},
		"negative context":     {Text: "a", Context: -1},
		"limit":                {Text: "a", Limit: crony.MaxLimit + 1},
		"a cursor of a list":   {Text: "a", Cursor: string(runAt(noon()))},
		"a cut cursor":         {Text: "a", Cursor: (&searchCursor{inside: true}).String()[:30]},
		"a cursor before line": {Text: "a", Cursor: (&searchCursor{inside: true, at: 1, line: 2}).String()},
		"a negative cursor":    {Text: "a", Cursor: (&searchCursor{inside: true, at: -1, line: -1}).String()},
		"a state":              {Text: "a", Runs: crony.RunQuery{State: "odd"}},
	} {
		if _, err := l.SearchOutput(t.Context(), q); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.SearchOutput(ctx, crony.OutputQuery{Text: "a"}); err == nil {
		t.Error("a search went on without anybody who waits for it")
	}
	l.Close()
	if _, err := l.SearchOutput(t.Context(), crony.OutputQuery{Text: "a"}); crony.CodeOf(err) != crony.Unavailable {
		t.Errorf("a closed log: %v, want unavailable", err)
	}
}

func TestRequired(t *testing.T) {
	for expr, want := range map[string]requirement{
		"abc":               {"abc", false},
		"a+bc|abd":          {"", false},
		"ab(c|d)":           {"ab", false},
		"x(longer)+y?":      {"longer", false},
		"(?i)error":         {"error", true},
		"(?i)tasks? done":   {" done", true},
		"(?i)status":        {"tatu", true},
		"a(?i)longer":       {"longer", true},
		"[0-9]+ms":          {"ms", false},
		"x{2}":              {"x", false},
		"(x)?":              {"", false},
		"a\\x{FFFD}b":       {"", false},
		"(?i)\u212a\u00c4x": {"x", true},
	} {
		p, err := newPattern("", expr)
		if err != nil || string(p.text) != want.text || p.fold != want.fold {
			t.Errorf("%s: %+v, %v; want %v", expr, p, err, want)
		}
	}
}

func TestIndexFold(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		random := func(n int, from string) []byte {
			b := make([]byte, n)
			for i := range b {
				b[i] = from[rng.IntN(len(from))]
			}
			return b
		}
		b, text := random(rng.IntN(40), "aAbBz[{ @`"), random(1+rng.IntN(3), "abz[ `")
		if got, want := indexFold(b, text), bytes.Index(bytes.ToLower(b), text); got != want {
			t.Fatalf("%q in %q: %d, want %d", text, b, got, want)
		}
	}
}

func TestSearchCursorText(t *testing.T) {
	for _, want := range []searchCursor{
		{run: runKey{1, 2, 15: 3}},
		{run: runKey{1}, inside: true, attempt: 1 << 31, stream: 2, at: 1 << 62, line: 7, skip: true},
	} {
		if got, err := parseSearchCursor(want.String()); got != want || err != nil {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
	}
}

// withOutput appends a run that wrote data to stdout, in chunks of a size.
func withOutput(tb testing.TB, l *Log, at time.Time, job string, data []byte, size int) crony.RunID {
	tb.Helper()
	id := crony.OccurrenceRunID(job, at, "")
	mustAppend(tb, l, storetest.Life(id, job, "a1", crony.Succeeded), nil)
	var chunks []crony.Chunk
	for from := 0; from < len(data); from += size {
		chunks = append(chunks, crony.Chunk{Run: id, Attempt: 1, Stream: crony.Stdout, Offset: int64(from),
			At: at.Add(time.Duration(from)), Data: data[from:min(from+size, len(data))]})
	}
	mustAppend(tb, l, nil, chunks)
	return id
}

// TestSearchOfLongLines has a line of 5 MiB with a word across the places where chunks and windows are cut.
func TestSearchOfLongLines(t *testing.T) {
	l := openTest(t, Options{})
	line := bytes.Repeat([]byte("x"), 5<<20)
	const word = "needle"
	spots := []int{0, 64<<10 - 3, 512<<10 - 2, 1<<20 - 5, 3<<20 + 1, len(line) - len(word)}
	for n, spot := range spots {
		data := append([]byte("before\n"), line...)
		copy(data[7+spot:], word)
		data = append(data, "\r\nafter needle\n"...)
		id := withOutput(t, l, noon().Add(time.Duration(n)*time.Minute), "long", data, 64<<10)
		page, err := l.SearchOutput(t.Context(), crony.OutputQuery{Text: word, Context: 2,
			Runs: crony.RunQuery{Job: "long"}, Limit: 2})
		if err != nil || len(page.Items) != 2 {
			t.Fatalf("%d: %d hits, %v", spot, len(page.Items), err)
		}
		hit, next := page.Items[0], page.Items[1]
		if hit.Run != id || hit.Offset != 7 || len(hit.Line) > 1<<10 || hit.Line[hit.Match[0]:hit.Match[1]] != word ||
			hit.Before != nil || hit.After != nil {
			t.Errorf("%d: %.2000v", spot, hit)
		}
		if want := id.Time().Add(time.Duration((7 + spot) / (64 << 10) * (64 << 10))); !hit.At.Equal(want) {
			t.Errorf("%d: read at %v, want %v", spot, hit.At, want)
		}
		if next.Line != "after needle" || next.Offset != int64(7+len(line)+2) || next.Before != nil {
			t.Errorf("%d: the line after it: %.2000v", spot, next)
		}
	}
}

// TestSearchKeepsToTheSelection searches what a list of runs would show, and says how far it came.
func TestSearchKeepsToTheSelection(t *testing.T) {
	l := openTest(t, Options{})
	for n := range 300 {
		job := fmt.Sprintf("job-%d", n%3)
		withOutput(t, l, noon().Add(-time.Duration(n)*time.Hour), job, fmt.Appendf(nil, "one\nhello of %s\nthree", job), 5)
	}
	q := crony.OutputQuery{Text: "hello", Runs: crony.RunQuery{Job: "job-1", Limit: 1, Cursor: "not looked at"}, Limit: 70, Context: 1}
	page, err := l.SearchOutput(t.Context(), q)
	if err != nil || len(page.Items) != 70 || page.Runs != 70 || page.Next == "" {
		t.Fatalf("%d hits of %d runs, next %q, %v", len(page.Items), page.Runs, page.Next, err)
	}
	if last := page.Items[69]; !page.Reached.Equal(last.Run.Time()) {
		t.Errorf("reached %v, want %v", page.Reached, last.Run.Time())
	}
	q.Cursor = page.Next
	rest, err := l.SearchOutput(t.Context(), q)
	if err != nil || len(rest.Items) != 30 || rest.Next != "" {
		t.Fatalf("%d hits, next %q, %v", len(rest.Items), rest.Next, err)
	}
	for _, hit := range append(page.Items, rest.Items...) {
		if hit.Job != "job-1" || hit.Line != "hello of job-1" || hit.Before[0] != "one" || hit.After[0] != "three" {
			t.Errorf("%+v", hit)
		}
	}
}

// TestSearchOfADamagedChunk finds what stands on both sides of it, and nothing across it.
func TestSearchOfADamagedChunk(t *testing.T) {
	l := openTest(t, Options{})
	id := withOutput(t, l, noon(), "damaged", []byte("red\nblue gree"+strings.Repeat("#", 987)+"n\nblue\n"), 500)
	k, err := parseID(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func([]byte){
		func(value []byte) { value[len(value)-1] ^= 0xff },
		func(value []byte) { value[0] = 99 }, // a version that is not known
	} {
		damageChunk(t, l, k, chunkRef{attempt: 1, stream: 1, offset: 500}, change)
		searchAroundDamage(t, l)
	}
}

func searchAroundDamage(t *testing.T, l *Log) {
	t.Helper()
	for text, want := range map[string][]int64{"red": {0}, "blue": {4, 1002}, "n": {1000}, "green": nil} {
		page, err := l.SearchOutput(t.Context(), crony.OutputQuery{Text: text})
		var got []int64
		for _, hit := range page.Items {
			got = append(got, hit.Offset)
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: at %v, %v; want %v", text, got, err, want)
		}
	}
}

// damageChunk changes a chunk as it is stored.
func damageChunk(t *testing.T, l *Log, k runKey, at chunkRef, change func(value []byte)) {
	t.Helper()
	err := l.days.update(k.day(), func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte(bucketChunks))
		value := bytes.Clone(bucket.Get(chunkKey(k, at)))
		change(value)
		return bucket.Put(chunkKey(k, at), value)
	})
	if err != nil {
		t.Fatal(err)
	}
}
