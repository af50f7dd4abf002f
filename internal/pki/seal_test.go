package pki

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSealKeyIsNeverShown(t *testing.T) {
	k := NewSealKey()
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "key", k, "in", struct{ K SealKey }{k})
	asJSON, err := json.Marshal(map[string]any{"k": k, "p": &k})
	if err != nil {
		t.Fatal(err)
	}
	hidden := struct{ k SealKey }{k} // of whose field fmt asks no methods
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "in", hidden, "at", &hidden)
	shown := logged.String() + string(asJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb+verb+verb+verb+verb, k, &k, struct{ K SealKey }{k}, hidden, &hidden)
	}
	raw := k.key()
	for _, secret := range []string{k.Hex(), strings.Trim(fmt.Sprint(raw[:4]), "[]"), fmt.Sprintf("%#v", raw[:4])[7:20], string(raw)} {
		if strings.Contains(shown, secret) {
			t.Errorf("the key is in %q", shown)
		}
	}
}

func TestSealKeyOnDisk(t *testing.T) {
	path, k := filepath.Join(t.TempDir(), "seal.key"), NewSealKey()
	if err := k.Save(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	again, err := ReadSealKey(path)
	if err != nil || again.Hex() != k.Hex() {
		t.Errorf("not the same key: %v", err)
	}
	for _, text := range []string{"", "ab", k.Hex() + "00", "z" + k.Hex()[1:]} {
		if _, err := ParseSealKey(text); err == nil || len(text) > 4 && strings.Contains(err.Error(), text[2:]) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSealed(t *testing.T) {
	k := NewSealKey()
	sealed := k.Seal([]byte("secret"), "a purpose")
	if plain, err := k.Open(sealed, "a purpose"); err != nil || string(plain) != "secret" {
		t.Errorf("%q, %v", plain, err)
	}
	if bytes.Equal(sealed, k.Seal([]byte("secret"), "a purpose")) || bytes.Contains(sealed, []byte("secret")) {
		t.Error("what is sealed tells something of what it is")
	}
	for name, open := range map[string]func() ([]byte, error){
		"another purpose": func() ([]byte, error) { return k.Open(sealed, "another") },
		"another key":     func() ([]byte, error) { return NewSealKey().Open(sealed, "a purpose") },
		"cut":             func() ([]byte, error) { return k.Open(sealed[:len(sealed)-1], "a purpose") },
		"nothing":         func() ([]byte, error) { return k.Open(nil, "a purpose") },
	} {
		if plain, err := open(); err == nil {
			t.Errorf("%s: %q", name, plain)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := k.Open(bad, "a purpose"); err == nil {
			t.Errorf("byte %d was changed", i)
		}
	}
}

func TestSealedAuthority(t *testing.T) {
	k, before := NewSealKey(), newCA(t, "c1")
	for name, ca := range map[string]*CA{"the first": before, "its successor": successor(t, before)} {
		again, err := OpenSealedCA(k, ca.Seal(k))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		check(t, name, again.Root().Fingerprint(), ca.Root().Fingerprint())
		cert, err := issue(t, again, Agent, "a1").Certificate()
		if err != nil {
			t.Fatal(err)
		}
		check(t, name+": certificates in a chain", len(cert.Certificate), map[string]int{"the first": 1, "its successor": 2}[name])
	}
	for what, sealed := range map[string][]byte{
		"junk":      k.Seal([]byte("junk"), sealPurpose),
		"no key":    k.Seal([]byte(`{"root":`+quoted(before.Root().PEM())+`}`), sealPurpose),
		"unsealed":  []byte(`{}`),
		"two pairs": k.Seal([]byte(`{"root":`+quoted(before.Root().PEM())+`,"key":`+quoted(keyOf(t, newCA(t, "c1")))+`}`), sealPurpose),
	} {
		if _, err := OpenSealedCA(k, sealed); err == nil {
			t.Errorf("%s is taken for an authority", what)
		}
	}
}

func quoted(text []byte) string {
	data, err := json.Marshal(string(text))
	if err != nil {
		panic(err)
	}
	return string(data)
}

func keyOf(t *testing.T, ca *CA) []byte {
	t.Helper()
	text, err := encodeKey(ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func FuzzOpenSealedCA(f *testing.F) {
	k := NewSealKey()
	ca, err := NewCA("c1", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	plain, err := k.Open(ca.Seal(k), sealPurpose)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain)
	f.Fuzz(func(t *testing.T, plain []byte) {
		if ca, err := OpenSealedCA(k, k.Seal(plain, sealPurpose)); err == nil && ca.Root() == nil {
			t.Error("an authority without a certificate")
		}
	})
}
