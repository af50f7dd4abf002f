package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/strict"
)

func TestMarshalYAML(t *testing.T) {
	v := struct {
		Big    json.Number       `json:"big"`
		Float  float64           `json:"float"`
		At     time.Time         `json:"at"`
		Yes    bool              `json:"yes"`
		None   *int              `json:"none"`
		Words  []string          `json:"words"`
		Empty  []string          `json:"empty"`
		Nested []map[string]any  `json:"nested"`
		Bare   map[string]string `json:"bare"`
		Script string            `json:"script"`
	}{
		Big: "123456789012345678901234567890", Float: 1.5, At: noon, Yes: true,
		Words: []string{"no", "null", "1.0", "~", "a: b", "- c", "#d", "1:30", "", " e", "0x1f", "plain", "😀\x07"},
		Empty: []string{}, Nested: []map[string]any{{"b": 1, "a": []int{1}}}, Bare: map[string]string{},
		Script: "#!/bin/sh\n\techo 1\n",
	}
	const want = `big: 123456789012345678901234567890
float: 1.5
at: "2027-03-01T12:00:00Z"
"yes": true
none: null
words:
  - "no"
  - "null"
  - "1.0"
  - "~"
  - 'a: b'
  - '- c'
  - '#d'
  - "1:30"
  - ""
  - ' e'
  - "0x1f"
  - plain
  - "\U0001F600\a"
empty: []
nested:
  - a:
      - 1
    b: 1
bare: {}
script: |
  #!/bin/sh
  	echo 1
`
	got, err := marshalYAML(v)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// FuzzManifestAsYAML holds that a definition that is shown as YAML can be applied again, whatever its texts.
func FuzzManifestAsYAML(f *testing.F) {
	for _, text := range []string{"x", "yes", "0123", "\n", "\n\n  a\n", "a\n ", "\ta\n", " a\nb", "a\r\nb", "\x00\x1b\x7f", "a\u0085b\u2028\ufeff", "😀\n", "# a\n", "---\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = string([]rune(text)) // JSON has no other text than Unicode's
		want := crony.Manifest{Jobs: []crony.Job{{Name: "a", Title: text, Shell: &crony.Shell{
			Script: text, Argv: []string{"a", text}, Env: map[string]string{text: text}}}}}
		data, err := marshalYAML(want)
		if err != nil {
			t.Fatal(err)
		}
		var got crony.Manifest
		if _, faults := strict.Decode(data, &got); len(faults) > 0 {
			t.Fatalf("%s\n%v", data, faults)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s\n%s", data, diff)
		}
	})
}

func TestClean(t *testing.T) {
	if got := clean("a\tb\nc\x1b[2J\u009bd\x7f"); got != "a b c\ufffd[2J\ufffdd\ufffd" {
		t.Errorf("got %q", got)
	}
}

func TestAgo(t *testing.T) {
	for want, at := range map[string]time.Time{
		"":           {},
		"now":        noon.Add(-999 * time.Millisecond),
		"1s ago":     noon.Add(-time.Second),
		"in 59s":     noon.Add(59 * time.Second),
		"59m ago":    noon.Add(-time.Hour + time.Second),
		"in 47h":     noon.Add(48*time.Hour - time.Second),
		"2d ago":     noon.Add(-48 * time.Hour),
		"10000d ago": noon.AddDate(0, 0, -10000),
	} {
		if got := ago(noon, at); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProgressText(t *testing.T) {
	now := time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)
	for want, p := range map[string]*crony.Progress{
		"": nil,
		"[########............] 40%, 5s ago: half": {Percent: 40, Message: "half", At: now.Add(-5 * time.Second)},
		"[####################] 100%, 1m ago":      {Percent: 100, At: now.Add(-time.Minute)},
	} {
		if got := progressText(now, p); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
