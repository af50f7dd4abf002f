package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func TestTokenCreate(t *testing.T) {
	f := &fake{cluster: cluster{status: three()}}
	s := start(t, f)
	want := `Token:    cronyjoin_agent_t1
For:      agent
Uses:     1
Expires:  2027-03-01 13:00:00 UTC (in 1h)

On the host that is to join:

  echo cronyjoin_agent_t1 | sudo crony-agent join https://alpha:8470
`
	if diff := cmp.Diff(want, s.want("token", "create", "--for", "agent")); diff != "" {
		t.Error(diff)
	}
	var made newToken
	out := s.want("token", "create", "--for", "server", "--ttl", "1d12h", "--uses", "3", "-o", "json")
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(newToken{crony.JoinToken{ID: "t2", For: crony.JoinServer, Uses: 3, CreatedAt: noon, CreatedBy: "ada",
		ExpiresAt: noon.Add(36 * time.Hour), Secret: "cronyjoin_server_t2"},
		"echo cronyjoin_server_t2 | sudo crony cluster join https://alpha:8470"}, made); diff != "" {
		t.Error(diff)
	}
	for hint, args := range map[string][]string{
		"required flag(s) \"for\"":         {},
		"--for server or --for agent":      {"--for", "people"},
		"a token that is good for nothing": {"--for", "agent", "--uses", "0"},
		"1 to 10000":                       {"--for", "agent", "--uses", "-1"},
		"1m to 30d":                        {"--for", "agent", "--ttl", "31d"},
		"--ttl: \"soon\" is not":           {"--for", "agent", "--ttl", "soon"},
	} {
		if r := s.run(append([]string{"token", "create"}, args...)...); r.code != 2 || !strings.Contains(r.stderr, hint) {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if len(f.cluster.tokens) != 2 {
		t.Errorf("%d tokens", len(f.cluster.tokens))
	}
}

// TestJoinAddress: what is called is what another host calls, unless that means another thing there.
func TestJoinAddress(t *testing.T) {
	for address, want := range map[string]string{
		"https://crony.internal:8470/sub": "crony.internal:8470",
		"https://crony.internal":          "crony.internal:443",
		"https://[fd00::1]:8470":          "[fd00::1]:8470",
		"http://10.0.0.1":                 "10.0.0.1:80",
		"http://127.0.0.1:8470":           "127.0.0.1:8470",
	} {
		if got := hostPort(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	for address, want := range map[string]bool{
		"127.0.0.1:8470": true, "127.0.0.2:1": true, "[::1]:8470": true, "localhost:8470": true, "0.0.0.0:8470": true,
		"10.0.0.1:8470": false, "crony.internal:8470": false, "[fd00::1]:8470": false,
	} {
		if got := isLocal(address); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
	s := start(t, &fake{cluster: cluster{status: crony.ClusterStatus{Server: "s1"}}})
	want := "| sudo crony-agent join https://" + strings.TrimPrefix(s.address, "http://") + "\n"
	if got := s.want("token", "create", "--for", "agent"); !strings.HasSuffix(got, want) {
		t.Errorf("without a better name: %s", got)
	}
}

func TestTokenListAndDelete(t *testing.T) {
	f := &fake{}
	s := start(t, f)
	s.want("token", "create", "--for", "agent", "--uses", "12")
	s.want("token", "create", "--for", "server")
	want := `ID  FOR     USES LEFT  EXPIRES  MADE  BY
t1  agent   12         in 1h    now   ada
t2  server  1          in 1h    now   ada
`
	if diff := cmp.Diff(want, s.want("token", "list")); diff != "" {
		t.Error(diff)
	}
	r := s.run("token", "delete", "t1", "none", "t2")
	if want := (result{3, "NAME  ACTION\nt1    deleted\n", "crony: there is no join token \"none\"\n"}); r != want {
		t.Errorf("got %+v", r)
	}
	if len(f.cluster.tokens) != 1 {
		t.Errorf("%d tokens are left", len(f.cluster.tokens))
	}
	if got := s.want("token", "list", "-o", "json"); strings.Contains(got, "secret") {
		t.Errorf("a secret is told: %s", got)
	}
}
