package main

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func TestScreen(t *testing.T) {
	for text, want := range map[string]string{
		"plain\ttext 世界\n":                         "plain\ttext 世界\n",
		"\x1b[1;31mred\x1b[0m\n":                   "\x1b[1;31mred\x1b[0m\n",
		"\x1b[38:5:9mred\n":                        "\x1b[38:5:9mred\n" + resetColour,
		"\x1b[2J\x1b]0;title\a\n":                  "^[[2J^[]0;title^G\n",
		"windows\r\nover\rwritten\n":               "windows\nover^Mwritten\n",
		"bell \a del \x7f nul \x00\n":              "bell ^G del ^? nul ^@\n",
		"c1 \u009b2J bidi \u202e\n":                "c1 <U+009B>2J bidi <U+202E>\n",
		"\xff\xfe not \xe4\xb8 utf-8\n":            `\xff\xfe not \xe4\xb8 utf-8` + "\n",
		"no end":                                   "no end\n",
		"cut \x1b[3":                               `cut \x1b\x5b\x33` + "\n",
		"cut \xe4\xb8":                             `cut \xe4\xb8` + "\n",
		"\x1b[" + strings.Repeat("1;", 20) + "m\n": "^[[" + strings.Repeat("1;", 20) + "m\n",
	} {
		for size := range len(text) {
			var s screen
			var got []byte
			for rest := []byte(text); len(rest) > 0; {
				n := min(size+1, len(rest))
				got = append(got, s.render(nil, "stdout", rest[:n])...)
				rest = rest[n:]
			}
			if got = s.end(got); string(got) != want {
				t.Errorf("%q by %d: %q, want %q", text, size+1, got, want)
			}
		}
	}
}

func FuzzScreen(f *testing.F) {
	f.Add([]byte("a\x1b[1mb\x1b[2Jc\r\n\xff"), 3)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		var s, other screen
		whole := s.end(s.render(nil, "stdout", data))
		cut = max(0, min(cut, len(data)))
		parts := other.render(nil, "stdout", data[:cut])
		parts = other.end(append(parts, other.render(nil, "stdout", data[cut:])...))
		if string(whole) != string(parts) {
			t.Errorf("%q, but cut at %d %q", whole, cut, parts)
		}
		if !utf8.Valid(whole) {
			t.Errorf("%q is not UTF-8", whole)
		}
		for _, part := range strings.Split(string(whole), "\x1b")[1:] {
			if size, is := colourSequence([]byte("\x1b" + part)); !is || size > maxSequence {
				t.Errorf("%q has a sequence that is no colour", whole)
			}
		}
	})
}

// TestRunLogsOnATerminal marks stderr where both streams share a terminal, and nowhere else.
func TestRunLogsOnATerminal(t *testing.T) {
	run := crony.Run{ID: id, State: crony.Succeeded, Attempts: []crony.Attempt{{Number: 1, StdoutBytes: 20, StderrBytes: 9}}}
	s := start(t, &fake{runs: []crony.Run{run}, output: func(w http.ResponseWriter, _ crony.RunID) {
		send(w, "chunk", chunk(crony.Stdout, 0, "out\x1b[32m\a"))
		send(w, "chunk", chunk(crony.Stderr, 0, "bad\nworse"))
		send(w, "chunk", chunk(crony.Stdout, 10, "tail\n"))
		send(w, "end", nil)
	}})
	const gap, rest = "crony: 1 bytes of stdout were not kept\n", "crony: 5 bytes of stdout were not kept\n"
	for _, tt := range []struct {
		shown, watched bool
		stdout, stderr string
	}{
		{false, false, "out\x1b[32m\atail\n", "bad\nworse" + gap + rest},
		{true, false, "out\x1b[32m^G" + resetColour + "\ntail\n", "bad\nworse" + gap + rest},
		{false, true, "out\x1b[32m\atail\n", "bad\nworse\n" + gap + rest},
		{true, true, "out\x1b[32m^Gtail\n", "\x1b[0;31m!\x1b[0m bad\n\x1b[0;31m!\x1b[0m worse\n" + gap + rest},
	} {
		s.shown, s.watched = tt.shown, tt.watched
		r := s.run("run", "logs", string(id))
		if tt.shown && tt.watched { // what ends the one stream's line stands on the other
			r.stdout = strings.Replace(r.stdout, resetColour+"\n", "", 1)
			r.stderr = strings.Replace(r.stderr, resetColour+"\n", "", 1)
		}
		if diff := cmp.Diff(result{0, tt.stdout, tt.stderr}, r, cmp.AllowUnexported(result{})); diff != "" {
			t.Errorf("stdout a terminal %v, stderr %v:\n%s", tt.shown, tt.watched, diff)
		}
	}
}
