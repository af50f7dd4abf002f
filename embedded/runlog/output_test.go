package runlog

import (
	"bytes"
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// TestSpans holds spans against a set of single bytes.
func TestSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var s, fresh spans
		var have [64]bool
		for range 40 {
			from := rng.Int64N(63)
			n := span{from, from + 1 + rng.Int64N(min(12, 63-from))}
			s, fresh = s.add(n)
			var isNew [64]bool
			for _, f := range fresh {
				for at := f.from; at < f.to; at++ {
					isNew[at] = true
				}
			}
			for at := n.from; at < n.to; at++ {
				if isNew[at] == have[at] {
					t.Fatalf("adding %v: byte %d new %v, had %v", n, at, isNew[at], have[at])
				}
				have[at] = true
			}
			var covered [64]bool
			for i, x := range s {
				if i > 0 && s[i-1].to >= x.from {
					t.Fatalf("%v: not apart", s)
				}
				for at := x.from; at < x.to; at++ {
					covered[at] = true
				}
			}
			if covered != have {
				t.Fatalf("%v covers %v, want %v", s, covered, have)
			}
		}
	}
}

// TestSlowFollower leaves more unread than a follower remembers, and must still miss nothing.
func TestSlowFollower(t *testing.T) {
	l := openTest(t, Options{})
	facts := life(noon())
	const total = 2*followerQueue + 100
	want := []byte(strings.Repeat("0123456789", total/10+1))[:total]
	chunk := func(at int) crony.Chunk {
		return crony.Chunk{
			Run: facts[0].Run, Attempt: 1, Stream: crony.Stdout, Offset: int64(at), At: noon(), Data: want[at : at+1],
		}
	}
	mustAppend(t, l, facts[:2], []crony.Chunk{chunk(0)})
	var got []byte
	for c, err := range l.Output(t.Context(), facts[0].Run, true) {
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			var rest []crony.Chunk
			for at := 1; at < total; at++ {
				rest = append(rest, chunk(at))
			}
			mustAppend(t, l, facts[2:], rest)
		}
		got = append(got, c.Data...)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

// TestNoOpenReader appends, while a consumer of output thinks, until the file outgrows its mapping: a transaction left open
// would keep the writer waiting there.
func TestNoOpenReader(t *testing.T) {
	l := openTest(t, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	noise := make([]byte, MaxChunk)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	facts := life(noon())
	chunk := crony.Chunk{Run: facts[0].Run, Attempt: 1, Stream: crony.Stdout, At: noon(), Data: noise}
	mustAppend(t, l, facts, []crony.Chunk{chunk})
	for _, err := range l.Output(ctx, facts[0].Run, false) {
		if err != nil {
			t.Fatal(err)
		}
		for chunk.Attempt < initialMmap/MaxChunk+8 {
			chunk.Attempt++
			if err := l.Append(ctx, nil, []crony.Chunk{chunk}); err != nil {
				t.Fatal(err)
			}
		}
		break
	}
}

func TestCodecChunk(t *testing.T) {
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for _, data := range []string{"x", strings.Repeat("hello\n", 1000)} {
		want := crony.Chunk{
			Run: runAt(noon()), Attempt: 3, Stream: crony.Stderr,
			Offset: 1 << 40, At: noon().Add(time.Nanosecond), Data: []byte(data),
		}
		k, err := parseID(want.Run)
		if err != nil {
			t.Fatal(err)
		}
		key := chunkKey(k, chunkRef{attempt: 3, stream: 2, offset: 1 << 40})
		value := c.encodeChunk(key, &want)
		if len(data) > 100 && len(value) > len(data)/10 {
			t.Errorf("%d bytes are stored as %d", len(data), len(value))
		}
		got, err := c.decodeChunk(want.Run, key, value)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
		for at := range len(key) + len(value) {
			damaged := append(bytes.Clone(key), value...)
			damaged[at] ^= 1 << (at % 8)
			if ch, err := c.decodeChunk(want.Run, damaged[:len(key)], damaged[len(key):]); err == nil {
				t.Errorf("a chunk with a flipped bit in byte %d was read: %+v", at, ch)
			}
		}
		for cut := range len(value) {
			if _, err := c.decodeChunk(want.Run, key, value[:cut]); err == nil {
				t.Errorf("a chunk cut to %d of %d bytes was read", cut, len(value))
			}
		}
	}
}
