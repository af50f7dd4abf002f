package webui

import (
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"crony/webui/api"
)

func TestAssets(t *testing.T) {
	const (
		forever = "public, max-age=31536000, immutable"
		js      = "text/javascript; charset=utf-8"
		html    = "text/html; charset=utf-8"
		problem = "application/problem+json"
	)
	tests := map[string]struct {
		path, accept string
		status       int
		body         string // or what it begins with
		mediaType    string
		encoding     string
		cache        string
	}{
		"page":                  {"/", "", 200, "<meta", html, "", "no-store"},
		"page is never encoded": {"/", "br", 200, "<meta", html, "", "no-store"},
		"deep link":             {"/jobs/backup.daily", "", 200, "<meta", html, "", "no-store"},
		"by its own name":       {"/index.html", "", 404, "{", problem, "", "no-store"},
		"plain":                 {"/assets/a-1.js", "", 200, "plain", js, "", forever},
		"brotli":                {"/assets/a-1.js", "gzip, deflate, br;q=0.5", 200, "brotli", js, "br", forever},
		"gzip":                  {"/assets/a-1.js", "gzip", 200, "gzipped", js, "gzip", forever},
		"brotli refused":        {"/assets/a-1.js", "br;q=0, gzip;q=1.0", 200, "gzipped", js, "gzip", forever},
		"all refused":           {"/assets/a-1.js", "br; q=0,gzip;q=0.0", 200, "plain", js, "", forever},
		"only gzip made":        {"/assets/b-2.svg", "br, gzip", 200, "gzipped svg", "image/svg+xml", "gzip", forever},
		"at the root":           {"/theme.js", "br", 200, "theme", js, "", "public, max-age=300"},
		"missing asset":         {"/assets/nope.js", "", 404, "{", problem, "", "no-store"},
		"missing icon":          {"/favicon.ico", "", 404, "{", problem, "", "no-store"},
		"folder":                {"/assets/folder", "", 404, "{", problem, "", "no-store"},
		"encoded sibling":       {"/assets/a-1.js.br", "", 404, "{", problem, "", "no-store"},
		"the stamp":             {"/.stamp", "", 404, "{", problem, "", "no-store"},
		"out of the app":        {"/../placeholder.html", "", 200, "<meta", html, "", "no-store"},
		"out, written out":      {"/assets/..%2f..%2fplaceholder.html", "", 404, "{", problem, "", "no-store"},
		"not the api":           {"/apiary", "", 200, "<meta", html, "", "no-store"},
	}
	r := newRig(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if test.accept != "" {
				header.Set("Accept-Encoding", test.accept)
			}
			got := r.do(t, call{method: "GET", path: test.path, header: header})
			if got.StatusCode != test.status || !strings.HasPrefix(string(got.body), test.body) {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
			for key, want := range map[string]string{
				"Content-Type": test.mediaType, "Content-Encoding": test.encoding, "Cache-Control": test.cache,
				"X-Content-Type-Options": "nosniff",
			} {
				if got.Header.Get(key) != want {
					t.Errorf("%s: %q, want %q", key, got.Header.Get(key), want)
				}
			}
			if strings.HasPrefix(test.cache, "public") && got.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("Vary %q", got.Header.Get("Vary"))
			}
			head := r.do(t, call{method: "HEAD", path: test.path, header: header})
			if head.StatusCode != got.StatusCode || len(head.body) != 0 || head.ContentLength != int64(len(got.body)) {
				t.Errorf("HEAD: %d, length %d for %d, body %q", head.StatusCode, head.ContentLength, len(got.body), head.body)
			}
		})
	}
}

// TestNonce: each page has another, the same in its policy and in its elements.
func TestNonce(t *testing.T) {
	r := newRig(t)
	seen := map[string]bool{}
	for range 3 {
		got := r.do(t, call{method: "GET", path: "/"})
		policy := got.Header.Get("Content-Security-Policy")
		nonce := regexp.MustCompile(`'nonce-([\w-]{22})'`).FindStringSubmatch(policy)
		if nonce == nil || strings.Count(string(got.body), `nonce="`+nonce[1]+`"`) != 2 || seen[nonce[1]] {
			t.Fatalf("policy %s, page %s", policy, got.body)
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("policy %s", policy)
		}
		seen[nonce[1]] = true
	}
}

func TestSecurityHeaders(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/", "/api/v1/jobs", "/livez", "/assets/a-1.js", "/metrics"} {
		got := r.do(t, call{method: "GET", path: path, as: "viewer"})
		for key, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Strict-Transport-Security": "", "Server": "",
		} {
			if got.Header.Get(key) != want {
				t.Errorf("%s: %s %q, want %q", path, key, got.Header.Get(key), want)
			}
		}
		if policy := got.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") ||
			!strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
}

func TestWithoutWebApp(t *testing.T) {
	r := newRigWith(t, fstest.MapFS{"placeholder.html": {Data: []byte("placeholder")}})
	if got := r.do(t, call{method: "GET", path: "/jobs"}); got.StatusCode != 200 || string(got.body) != "placeholder" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got := r.do(t, call{method: "GET", path: "/readyz"}); !strings.Contains(string(got.body), `"web_app":false`) {
		t.Errorf("%s", got.body)
	}
	if _, err := newAssets(fstest.MapFS{}); err == nil {
		t.Error("nothing to show, and no error")
	}
}

// TestEmbeddedApp: all that the built page asks for is there, and what is large is there in a short form.
func TestEmbeddedApp(t *testing.T) {
	if !Built() {
		t.Skip("this binary was built without its web app")
	}
	dir, err := fs.Sub(dist, "dist")
	if err != nil {
		t.Fatal(err)
	}
	r := newRigWith(t, dir)
	page := r.do(t, call{method: "GET", path: "/"})
	links := regexp.MustCompile(`(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(string(page.body), -1)
	if len(links) < 2 || strings.Contains(string(page.body), noncePlaceholder) {
		t.Errorf("page %s", page.body)
	}
	for _, link := range links {
		got := r.do(t, call{method: "GET", path: link[1], header: http.Header{"Accept-Encoding": {"gzip, br"}}})
		if got.StatusCode != 200 || strings.HasPrefix(link[1], "/assets/") && got.Header.Get("Content-Encoding") != "br" {
			t.Errorf("%s: %d %v", link[1], got.StatusCode, got.Header)
		}
	}
}

func TestTheContractIsServed(t *testing.T) {
	got := newRig(t).do(t, call{method: "GET", path: "/api/v1/openapi.yaml", as: "viewer"})
	if got.StatusCode != 200 || string(got.body) != string(api.Spec) {
		t.Errorf("%d, %d bytes", got.StatusCode, len(got.body))
	}
}
