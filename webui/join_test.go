package webui

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"crony"

	"github.com/google/go-cmp/cmp"
)

const joinBody = `{"token":"t","request":"-----BEGIN CERTIFICATE REQUEST-----\n","name":"web-1","replace":"old"}`

// TestJoin: no session is needed, and whoever brings one is not asked for it.
func TestJoin(t *testing.T) {
	var asked []crony.JoinRequest
	var remotes []string
	answers := crony.JoinAnswer{Cluster: "c1", ID: "a1", Certificate: "PEM", Authorities: "PEM", SealKey: "00"}
	r := newRig(t, func(o *Options) {
		o.Join = func(_ context.Context, req crony.JoinRequest, remote string) (crony.JoinAnswer, error) {
			asked, remotes = append(asked, req), append(remotes, remote)
			return answers, nil
		}
	})
	for _, as := range []string{"", "nobody"} {
		got := r.do(t, call{method: "POST", path: apiBase + "/join", body: joinBody, as: as})
		if got.StatusCode != 200 || !strings.Contains(string(got.body), `"servers":[]`) {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		back := decode[crony.JoinAnswer](t, got.body)
		back.Servers = nil
		if diff := cmp.Diff(answers, back); diff != "" {
			t.Error(diff)
		}
	}
	want := crony.JoinRequest{Token: "t", Request: "-----BEGIN CERTIFICATE REQUEST-----\n", Name: "web-1", Replace: "old"}
	if diff := cmp.Diff([]crony.JoinRequest{want, want}, asked); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"0.0.0.0", "0.0.0.0"}, remotes); diff != "" { // as the framework's tests have it
		t.Error(diff)
	}
}

func TestJoinRefusals(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Join = func(context.Context, crony.JoinRequest, string) (crony.JoinAnswer, error) {
			t.Error("it was asked")
			return crony.JoinAnswer{}, nil
		}
	})
	big := `{"token":"` + strings.Repeat("t", joinLimit) + `"}`
	for name, test := range map[string]struct {
		body   string
		header http.Header
		method string
		status int
	}{
		"too large":        {big, nil, "POST", 413},
		"an unknown key":   {`{"token":"t","nam":"a"}`, nil, "POST", 422},
		"a form":           {"token=t", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, "POST", 415},
		"another site's":   {joinBody, http.Header{"Origin": {"https://evil.test"}}, "POST", 403},
		"only looking":     {"", nil, "GET", 401},
		"a path beside it": {joinBody, nil, "PUT", 401},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.do(t, call{method: test.method, path: apiBase + "/join", body: test.body, header: test.header})
			if got.problem(t); got.StatusCode != test.status {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
}

// TestGuessingTokensIsSlowedDown: those that are good don't count, and people go on signing in.
func TestGuessingTokensIsSlowedDown(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Join = func(_ context.Context, req crony.JoinRequest, _ string) (crony.JoinAnswer, error) {
			if req.Token != "good" {
				return crony.JoinAnswer{}, crony.Errorf(crony.Unauthorized, "this token is not good")
			}
			return crony.JoinAnswer{}, nil
		}
	})
	join := func(token string) answer {
		return r.do(t, call{method: "POST", path: apiBase + "/join", body: `{"token":"` + token + `","request":"r","name":"n"}`})
	}
	for range freeJoins {
		if got := join("wrong"); got.StatusCode != 401 {
			t.Fatalf("a wrong token: %d", got.StatusCode)
		}
		if got := r.do(t, call{method: "POST", path: apiBase + "/session", body: `{"token":"viewer"}`}); got.StatusCode != 200 {
			t.Fatalf("signing in: %d", got.StatusCode)
		}
	}
	if got := join("good"); got.StatusCode != 429 || got.Header.Get("Retry-After") != "6" {
		t.Errorf("%d, Retry-After %q", got.StatusCode, got.Header.Get("Retry-After"))
	}
	r.clock = r.clock.Add(failureTime)
	for range 3 {
		if got := join("good"); got.StatusCode != 200 {
			t.Errorf("after waiting: %d", got.StatusCode)
		}
	}
}
