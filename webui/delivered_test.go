package webui

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"crony"
)

// TestOutputGoesOn breaks a stream off anywhere, again and again, and holds that what came together is all of the output, in
// whatever order and with whatever overlaps it arrives, and nothing twice.
func TestOutputGoesOn(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var chunks []crony.Chunk
		for range 1 + rng.IntN(20) {
			from := rng.Int64N(100)
			chunks = append(chunks, crony.Chunk{Attempt: 1 + rng.IntN(2), Offset: from, Data: make([]byte, 1+rng.IntN(30)),
				Stream: []crony.Stream{crony.Stdout, crony.Stderr}[rng.IntN(2)]})
		}
		type byteAt struct {
			place
			offset int64
		}
		want, got := map[byteAt]bool{}, map[byteAt]int{}
		for _, c := range chunks {
			for at := c.Offset; at < c.End(); at++ {
				want[byteAt{place{c.Attempt, c.Stream}, at}] = true
			}
		}
		id := ""
		for again := true; again; {
			has, err := parseDelivered(id)
			if err != nil {
				t.Fatal(err)
			}
			rng.Shuffle(len(chunks), func(i, j int) { chunks[i], chunks[j] = chunks[j], chunks[i] })
			again = false
			for _, e := range eventsOf(t, chunks, has) {
				if again = rng.IntN(3) == 0; again { // the event that is lost is sent again
					break
				}
				id = e.id
				for at := e.chunk.Offset; at < e.chunk.End(); at++ {
					got[byteAt{place{e.chunk.Attempt, e.chunk.Stream}, at}]++
				}
			}
		}
		for at := range want {
			if got[at] != 1 {
				t.Fatalf("seed %d: %v came %d times", seed, at, got[at])
			}
		}
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d bytes of %d", seed, len(got), len(want))
		}
	}
}

// sentChunk is an event as it was sent.
type sentChunk struct {
	id    string
	chunk crony.Chunk
}

func eventsOf(t *testing.T, chunks []crony.Chunk, has delivered) (events []sentChunk) {
	t.Helper()
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	for _, c := range chunks {
		if err := sendChunk(w, c, has); err != nil {
			t.Fatal(err)
		}
	}
	for text := range strings.SplitSeq(strings.TrimSuffix(b.String(), "\n\n"), "\n\n") {
		if text == "" {
			continue
		}
		var e sentChunk
		lines := strings.Split(text, "\n")
		e.id = strings.TrimPrefix(lines[0], "id: ")
		if err := json.Unmarshal([]byte(strings.TrimPrefix(lines[2], "data: ")), &e.chunk); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		events = append(events, e)
	}
	return events
}

func TestDeliveredText(t *testing.T) {
	const id = "1o0-500,1o600-601,1e0-9,12o3-4"
	d, err := parseDelivered(id)
	if err != nil || d.String() != id {
		t.Errorf("%q, %v", d, err)
	}
	for _, id := range []string{"1", "1o", "1x0-1", "0o0-1", "1o1-1", "1o2-1", "1o-1-2", "1o0-1,", "o0-1", "1o0-9223372036854775808",
		strings.Repeat("1o0-1,", 400) + "1o0-1"} {
		if d, err := parseDelivered(id); crony.CodeOf(err) != crony.Invalid {
			t.Errorf("%q was read as %v, %v", id, d, err)
		}
	}
	holes := delivered{}
	for n := range int64(maxID) {
		holes.add(crony.Chunk{Attempt: 1, Stream: crony.Stdout, Offset: 2 * n, Data: []byte("x")})
	}
	if id := holes.String(); id != "" {
		t.Errorf("an id of %d bytes", len(id))
	}
}
