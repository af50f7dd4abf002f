package webui

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"crony"
)

func TestSigningInAndOut(t *testing.T) {
	r := newRig(t)
	const pause = "/api/v1/jobs/hello/pause"
	sameOrigin := http.Header{"Origin": {"http://example.com"}}
	sameSite, crossSite := http.Header{"Sec-Fetch-Site": {"same-origin"}}, http.Header{"Sec-Fetch-Site": {"cross-site"}}
	in := r.do(t, call{method: "POST", path: "/api/v1/session", body: `{"token":"operator"}`, header: sameSite})
	who := decode[crony.Session](t, in.body)
	if in.StatusCode != 200 || who.Role != crony.Operator || who.Name != "the-operator" {
		t.Fatalf("%d %s", in.StatusCode, in.body)
	}
	cookie := in.Cookies()[0]
	if cookie.Name != "crony_session" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" ||
		cookie.Secure || !cookie.Expires.Equal(noon.Add(time.Hour)) {
		t.Errorf("cookie %+v", cookie)
	}
	if strings.Contains(string(in.body), cookie.Value) {
		t.Error("the secret is in the body, where a script could read it")
	}
	r.jobs.jobs["hello"] = crony.JobStatus{Definition: crony.Definition{Job: crony.Job{Name: "hello"}}}
	for name, test := range map[string]struct {
		call call
		want int
	}{
		"me":                               {call{method: "GET", path: "/api/v1/session", cookie: cookie.Value}, 200},
		"same origin":                      {call{method: "POST", path: pause, cookie: cookie.Value, header: sameOrigin}, 200},
		"cross-site reading":               {call{method: "GET", path: "/api/v1/jobs", cookie: cookie.Value, header: crossSite}, 200},
		"a token from another site's tool": {call{method: "POST", path: pause, as: "operator", header: crossSite}, 200},
	} {
		if got := r.do(t, test.call); got.StatusCode != test.want {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
	out := r.do(t, call{method: "DELETE", path: "/api/v1/session", cookie: cookie.Value})
	if gone := out.Cookies(); out.StatusCode != 204 || len(gone) != 1 || gone[0].Value != "" || gone[0].Expires.After(noon) {
		t.Errorf("%d %v", out.StatusCode, gone)
	}
	if got := r.do(t, call{method: "GET", path: "/api/v1/session", cookie: cookie.Value}); got.StatusCode != 401 {
		t.Errorf("after signing out: %d", got.StatusCode)
	}
}

// TestBearerNeverAsksTheCookie: otherwise a request could skip the cross-site check by a header and act by its cookie.
func TestBearerNeverAsksTheCookie(t *testing.T) {
	r := newRig(t)
	r.do(t, call{method: "POST", path: "/api/v1/jobs/hello/runs", as: "nobody", cookie: "secret-admin"})
	if r.access.asked != 0 {
		t.Error("the cookie was looked at")
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	r := newRig(t)
	wrong := call{method: "POST", path: "/api/v1/session", body: `{"token":"wrong"}`}
	right := call{method: "POST", path: "/api/v1/session", body: `{"token":"viewer"}`}
	for range freeSignIns * 2 {
		if got := r.do(t, right); got.StatusCode != 200 {
			t.Fatalf("signing in often: %d", got.StatusCode)
		}
	}
	for range freeSignIns {
		if got := r.do(t, wrong); got.StatusCode != 401 {
			t.Fatalf("a wrong token: %d", got.StatusCode)
		}
	}
	got := r.do(t, right)
	if got.StatusCode != 429 || got.Header.Get("Retry-After") != "6" {
		t.Errorf("%d, Retry-After %q", got.StatusCode, got.Header.Get("Retry-After"))
	}
	r.clock = r.clock.Add(failureTime)
	if got := r.do(t, right); got.StatusCode != 200 {
		t.Errorf("after waiting: %d", got.StatusCode)
	}
}

func TestThrottleIsBounded(t *testing.T) {
	now := noon
	th := newThrottle(func() time.Time { return now }, freeSignIns, failureTime)
	victim := netip.MustParseAddr("192.0.2.1")
	for range freeSignIns {
		th.take(networkOf(victim))
	}
	for i := range maxBuckets + 500 {
		th.take(networkOf(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})))
	}
	if len(th.each) > maxBuckets {
		t.Errorf("%d buckets", len(th.each))
	}
	if th.take(networkOf(victim)) == 0 {
		t.Error("who failed most was forgotten first")
	}
	if networkOf(netip.MustParseAddr("2001:db8::1")) != networkOf(netip.MustParseAddr("2001:db8::ffff")) {
		t.Error("an IPv6 host escapes by changing its address")
	}
	if networkOf(netip.MustParseAddr("::ffff:192.0.2.1")) != networkOf(victim) {
		t.Error("one IPv4 address has two buckets")
	}
	now = now.Add(time.Hour)
	th.take(networkOf(netip.MustParseAddr("192.0.2.7")))
	if len(th.each) != 1 {
		t.Errorf("%d buckets are left of old", len(th.each))
	}
}
