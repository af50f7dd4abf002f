package backup

import (
	"strings"
	"testing"

	"crony"
)

func TestParseKey(t *testing.T) {
	k := newKeys(t)
	for name, text := range map[string]string{
		"alone":      k.key,
		"with space": "  " + k.key + "\r\n",
		"key file":   "# created: 2026-11-21T12:00:00Z\n# public key: " + k.recipient + "\n" + k.key + "\n",
	} {
		if got, err := ParseKey(text); err != nil || got != k.key {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"empty": "", "only comments": "# nothing\n", "recipient": k.recipient, "two": k.key + "\n" + newKeys(t).key,
		"cut": k.key[:len(k.key)-1], "wrong letter": k.key[:40] + flipped(k.key[40:41]) + k.key[41:], "text": "open sesame",
		"another kind": "AGE-SECRET-KEY-PQ-1" + k.key[len(keyPrefix):],
	} {
		got, err := ParseKey(text)
		if crony.CodeOf(err) != crony.Invalid || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err != nil && (strings.Contains(err.Error(), k.key[20:30]) || strings.Contains(err.Error(), "sesame")) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

// flipped returns another letter of bech32.
func flipped(letter string) string {
	if letter == "Q" {
		return "P"
	}
	return "Q"
}

func TestParseRecipient(t *testing.T) {
	k := newKeys(t)
	if got, err := ParseRecipient(" " + k.recipient + "\n"); err != nil || got != k.recipient {
		t.Errorf("got %q, %v", got, err)
	}
	for name, text := range map[string]string{
		"empty": "", "key": k.key, "key in small letters": strings.ToLower(k.key), "cut": k.recipient[:60],
		"wrong letter": k.recipient[:40] + strings.ToLower(flipped(strings.ToUpper(k.recipient[40:41]))) + k.recipient[41:],
		"another kind": "age1pq1" + k.recipient[5:],
	} {
		got, err := ParseRecipient(text)
		if crony.CodeOf(err) != crony.Invalid || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if err != nil && strings.Contains(strings.ToUpper(err.Error()), k.key[20:30]) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}
