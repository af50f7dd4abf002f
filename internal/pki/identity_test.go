package pki

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"
)

func TestParseIdentity(t *testing.T) {
	good := map[string]Identity{
		"crony://c1/server/s1":                             {"c1", Server, "s1"},
		"crony://01JCZ/agent/web-01_a":                     {"01JCZ", Agent, "web-01_a"},
		"crony://c/agent/" + strings.Repeat("x", 63):       {"c", Agent, strings.Repeat("x", 63)},
		"crony://" + strings.Repeat("9", 63) + "/server/s": {strings.Repeat("9", 63), Server, "s"},
	}
	for text, want := range good {
		got, err := ParseIdentity(text)
		if err != nil || got != want {
			t.Errorf("ParseIdentity(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	bad := []string{
		"", "crony://", "crony:///server/s1", "crony://c1/server/", "crony://c1/server", "crony://c1/server/s1/",
		"crony://c1/root/s1", "crony://c1/Server/s1", "CRONY://c1/server/s1", "crony:c1/server/s1", "https://c1/server/s1",
		"crony://c1:80/server/s1", "crony://u@c1/server/s1", "crony://c1/server/s1?x", "crony://c1/server/s1#x",
		"crony://c1/server/%73", "crony://c1/server/..", "crony://c1//server/s1", "crony://c1/server/s1\n", "crony://c1/server/é",
		"crony://-c/server/s1", "crony://c/server/-s", " crony://c/server/s", "crony://c1/agent/" + strings.Repeat("x", 64),
	}
	for _, text := range bad {
		if got, err := ParseIdentity(text); err == nil {
			t.Errorf("ParseIdentity(%q) = %v, want an error", text, got)
		}
	}
}

func TestIdentityOfWantsOneURI(t *testing.T) {
	one := &url.URL{Scheme: "crony", Host: "c1", Path: "/agent/a1"}
	other := &url.URL{Scheme: "https", Host: "example.com"}
	for name, uris := range map[string][]*url.URL{
		"none": nil, "two": {one, one}, "another beside it": {one, other}, "another": {other},
		"with a query": {{Scheme: "crony", Host: "c1", Path: "/agent/a1", RawQuery: "role=server"}},
		"escaped":      {{Scheme: "crony", Host: "c1", Path: "/agent/a 1"}},
	} {
		if id, err := IdentityOf(&x509.Certificate{URIs: uris}); err == nil {
			t.Errorf("%s: got %v, want an error", name, id)
		}
	}
	if id, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{one}}); err != nil || id != (Identity{"c1", Agent, "a1"}) {
		t.Errorf("got %v, %v", id, err)
	}
}

// FuzzParseIdentity holds the parser to its promise: what it accepts is written again byte for byte, and survives the way
// through a URL, as in a certificate.
func FuzzParseIdentity(f *testing.F) {
	for _, seed := range []string{
		"crony://c1/server/s1", "crony://c1/agent/a-1_B", "crony://c1/agent/a%31", "crony://c1/x/y", "crony://",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseIdentity(text)
		if err != nil {
			if id != (Identity{}) {
				t.Fatalf("ParseIdentity(%q) = %v with an error", text, id)
			}
			return
		}
		if id.String() != text || id.url().String() != text {
			t.Fatalf("%q came back as %q and %q", text, id, id.url())
		}
		u, err := url.Parse(text)
		if err != nil {
			t.Fatalf("%q is accepted but is no URL: %v", text, err)
		}
		if got, err := IdentityOf(&x509.Certificate{URIs: []*url.URL{u}}); err != nil || got != id {
			t.Fatalf("%q from a certificate is %v, %v", text, got, err)
		}
	})
}
