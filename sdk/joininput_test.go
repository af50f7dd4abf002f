package sdk

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"crony"
	"crony/internal/pki"
)

// TestJoinWithoutAToken has what is no token, or no address, refused before anybody is called.
func TestJoinWithoutAToken(t *testing.T) {
	ca := newCA(t, "c1")
	secret := secretOf(crony.JoinServer, ca.Root())
	token := secret.String()
	address := serveTLS(t, introduced(ca, pki.Server, time.Now(), ca.Root()), func(http.ResponseWriter, *http.Request) {
		t.Error("the server was called")
	})
	for name, c := range map[string]struct{ address, token, want string }{
		"no token":              {address, "", "not a join token"},
		"half a token":          {address, token[:len(token)-1], "not a join token"},
		"two tokens":            {address, token + token, "not a join token"},
		"the two swapped":       {token, address, "not a join token"},
		"a token for both":      {token, token, "where the server's address should be"},
		"a token and a port":    {token + ":8470", token, "where the server's address should be"},
		"a token as a URL":      {"https://" + token + "/", token, "where the server's address should be"},
		"plain HTTP":            {"http://127.0.0.1:8470", token, "can't join by plain HTTP"},
		"no address":            {"", token, "not the address of a server"},
		"a port alone":          {":8470", token, "not the address of a server"},
		"a path":                {"https://h/crony", token, "not the address of a server"},
		"a query":               {"h:8470?x", token, "not the address of a server"},
		"a user":                {"https://me@h", token, "not the address of a server"},
		"another scheme":        {"ftp://h", token, "not the address of a server"},
		"a name with a space":   {"a host", token, "not the address of a server"},
		"a port that is a word": {"h:people", token, "not the address of a server"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Join(t.Context(), c.address, c.token, joinRequest(t))
			wantRefusal(t, err, crony.Invalid, c.want, secret)
		})
	}
}

func TestJoinAddress(t *testing.T) {
	for address, want := range map[string]string{
		"h":                       "https://h:8470",
		"h:":                      "https://h:8470",
		"h:443":                   "https://h:443",
		"https://h":               "https://h:8470",
		"https://cron.test:9000/": "https://cron.test:9000",
		"10.0.0.1":                "https://10.0.0.1:8470",
		"::1":                     "https://[::1]:8470",
		"[::1]":                   "https://[::1]:8470",
		"https://[fd00::1]:8470":  "https://[fd00::1]:8470",
		"fe80::1%eth0":            "https://[fe80::1%25eth0]:8470",
	} {
		if got, err := joinAddress(address); got != want || err != nil {
			t.Errorf("%q: got %q, %v, want %q", address, got, err, want)
		}
	}
}

func FuzzJoinAddress(f *testing.F) {
	for _, address := range []string{"h", "https://h:8470/", "[::1]:1", "http://h", "h:"} {
		f.Add(address)
	}
	f.Fuzz(func(t *testing.T, address string) {
		base, err := joinAddress(address)
		if err != nil {
			if crony.CodeOf(err) != crony.Invalid {
				t.Errorf("%q: %v", address, err)
			}
			return
		}
		if checkAddress(base) != nil { // which is asked next
			return
		}
		u, err := url.Parse(base)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.Port() == "" || u.Path != "" || u.User != nil {
			t.Errorf("%q becomes %q: %v", address, base, err)
		}
	})
}

// FuzzJoinAnswer changes the PEM of a good answer: nothing is taken without the authority that the token names.
func FuzzJoinAnswer(f *testing.F) {
	ca, twin := newCA(f, "c1"), newCA(f, "c1")
	secret, req := secretOf(crony.JoinAgent, ca.Root()), joinRequest(f)
	good := signed(f, ca, crony.JoinAgent, req, ca.Root())
	forged := signed(f, twin, crony.JoinAgent, req, twin.Root())
	f.Add(good.Certificate, good.Authorities)
	f.Add(forged.Certificate, forged.Authorities)
	f.Add(forged.Certificate+good.Certificate, forged.Authorities)
	own := must(pki.ParseRoots([]byte(good.Authorities)))(f)[0].Fingerprint()
	f.Fuzz(func(t *testing.T, certificate, authorities string) {
		a := good
		a.Certificate, a.Authorities = certificate, authorities
		if checkAnswer(a, secret, req) != nil {
			return
		}
		for _, root := range must(pki.ParseRoots([]byte(authorities)))(t) {
			if root.Fingerprint() == own {
				return
			}
		}
		t.Errorf("taken without the token's authority:\n%s\n%s", certificate, authorities)
	})
}
