package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

const (
	oldAuthority = "1111111111111111111111111111111111111111111111111111111111111111"
	newAuthority = "2222222222222222222222222222222222222222222222222222222222222222"
)

// three are servers of which one is down.
func three() crony.ClusterStatus {
	server := func(id, name string) crony.ServerStatus {
		return crony.ServerStatus{
			ID: id, Name: name, State: crony.ServerUp, Version: "v1.2.3", Peer: name + ":8472", Agents: name + ":8471",
			People: "https://" + name + ":8470", Connected: 7, Behind: 3, StoreSize: 16*crony.MiB + 1, StoreInUse: crony.MiB,
			Authority: oldAuthority, CertificateEnd: noon.Add(90 * 24 * time.Hour), Trusts: []string{oldAuthority},
		}
	}
	status := crony.ClusterStatus{
		ID: "c1", Server: "s1", Leader: "s2", Revision: 42, Quorum: 2,
		Servers: []crony.ServerStatus{server("s1", "alpha"), server("s2", "beta"),
			{ID: "s3", Name: "gamma", State: crony.ServerDown, Peer: "gamma:8472"}},
		Authorities: []crony.AuthorityStatus{{Fingerprint: oldAuthority, Current: true, EndsAt: noon.Add(3650 * 24 * time.Hour),
			Servers: 2, Agents: 14}},
	}
	status.Servers[1].Leader = true
	others := []crony.RunLogOther{{Server: "s3", Behind: 12, BehindSince: noon}}
	status.Servers[0].RunLog = &crony.RunLogStatus{Whole: true, Others: others}
	status.Servers[1].RunLog = &crony.RunLogStatus{Copying: 3, Others: others}
	return status
}

func TestClusterStatus(t *testing.T) {
	f := &fake{cluster: cluster{status: three()}}
	s := start(t, f)
	want := `Cluster:    c1
Quorum:     2 of 3 up, 2 needed
Leader:     beta
Authority:  1111111111111111… signs, ends in 3650d

NAME   STATE  LEADER  VERSION  PEER        AGENTS  STORE    BEHIND  RUN LOG         CERTIFICATE
alpha  up     -       v1.2.3   alpha:8472  7       16.0MiB  3       whole           in 90d
beta   up     yes     v1.2.3   beta:8472   7       16.0MiB  3       copying 3 days  in 90d
gamma  down   -       -        gamma:8472  -       -        -       12 behind       -
`
	if diff := cmp.Diff(want, s.want("cluster", "status")); diff != "" {
		t.Error(diff)
	}
	var status crony.ClusterStatus
	if err := json.Unmarshal([]byte(s.want("cluster", "status", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(three(), status); diff != "" {
		t.Error(diff)
	}
	if got := s.want("cluster", "status", "-o", "yaml"); !strings.Contains(got, "quorum: 2\n") {
		t.Errorf("got\n%s", got)
	}
}

// TestClusterTroubles: what somebody should do something about stands before the servers.
func TestClusterTroubles(t *testing.T) {
	status := three()
	status.Servers[0].Trouble = "its disk is nearly full"
	status.Servers[2].State = crony.ServerJoining
	status.Warnings = []string{"no backup was made for 3 days", "two servers\nare no better than one"}
	status.Authorities = append([]crony.AuthorityStatus{{Fingerprint: newAuthority, Current: true, EndsAt: noon}}, status.Authorities...)
	status.Authorities[1].Current = false
	s := start(t, &fake{cluster: cluster{status: status}})
	want := `Cluster:    c1
Quorum:     2 of 2 up, 2 needed
Leader:     beta
Authority:  2222222222222222… signs, ends now
            1111111111111111… is still trusted, ends in 3650d
Trouble:    alpha: its disk is nearly full
Warning:    no backup was made for 3 days
            two servers are no better than one
`
	if got, _, _ := strings.Cut(s.want("cluster", "status"), "\nNAME"); got != want {
		t.Error(cmp.Diff(want, got))
	}
}

func TestClusterWithoutAQuorum(t *testing.T) {
	f := &fake{cluster: cluster{status: three()}}
	s := start(t, f)
	f.cluster.status.Servers[1].State = crony.ServerDown
	for _, format := range []string{"table", "json"} {
		r := s.run("cluster", "status", "-o", format)
		if r.code != 1 || !strings.Contains(r.stdout, "gamma") || !strings.HasPrefix(r.stderr,
			"crony: the cluster has no quorum: 1 of 3 servers are up, and 2 are needed\nhint: ") {
			t.Errorf("got %+v", r)
		}
	}
	f.cluster.status = three()
	f.cluster.status.Leader = ""
	if r := s.run("cluster", "status"); r.code != 1 || !strings.Contains(r.stdout, "Leader:     none\n") ||
		!strings.HasPrefix(r.stderr, "crony: no server leads\nhint: ") {
		t.Errorf("got %+v", r)
	}
}

func TestClusterRemoveAndPromote(t *testing.T) {
	f := &fake{cluster: cluster{status: three()}}
	s := start(t, f)
	if r := s.run("cluster", "remove", "gamma"); r.code != 2 || !strings.Contains(r.stderr, "give --yes") {
		t.Errorf("without a terminal: %+v", r)
	}
	s.terminal, s.stdin = true, strings.NewReader("n\n")
	if r := s.run("cluster", "remove", "gamma"); r.code != 1 ||
		r.stderr != "Remove the server gamma for good? [y/N] crony: nothing was done\n" {
		t.Errorf("answered no: %+v", r)
	}
	if len(f.cluster.asked) != 0 {
		t.Fatalf("the server was asked %q", f.cluster.asked)
	}
	s.stdin = strings.NewReader("y\n")
	if got := s.want("cluster", "remove", "gamma"); got != "NAME   ACTION\ngamma  removed\n" {
		t.Errorf("got\n%s", got)
	}
	s.terminal = false
	s.want("cluster", "remove", "gamma", "--yes")
	if got := s.want("cluster", "promote", "gamma", "-o", "json"); !strings.Contains(got, `"action": "promoted"`) {
		t.Errorf("got\n%s", got)
	}
	want := []string{"DELETE /api/v1/cluster/servers/gamma ", "DELETE /api/v1/cluster/servers/gamma ",
		"POST /api/v1/cluster/servers/gamma/promote "}
	if diff := cmp.Diff(want, f.cluster.asked); diff != "" {
		t.Error(diff)
	}
	f.cluster.refusal = crony.Errorf(crony.Conflict, "beta would be alone").WithHint("start alpha first")
	for _, verb := range []string{"remove", "promote"} {
		args := []string{"cluster", verb, "beta", "--yes"}
		if verb == "promote" {
			args = args[:3]
		}
		if r := s.run(args...); r != (result{1, "", "crony: beta would be alone\nhint: start alpha first\n"}) {
			t.Errorf("%s: %+v", verb, r)
		}
	}
}

// TestClusterTransfer: it ends when the leadership is taken, by whom it was handed to or by any other.
func TestClusterTransfer(t *testing.T) {
	for name, test := range map[string]struct {
		args    []string
		leaders []string
		body    string
		want    string
	}{
		"to another":      {nil, []string{"s2", "", "s1"}, `{}`, "alpha"},
		"to one by name":  {[]string{"gamma"}, []string{"s1", "s3"}, `{"server":"gamma"}`, "gamma"},
		"to one by id":    {[]string{"s1"}, []string{"s1"}, `{"server":"s1"}`, "alpha"},
		"to who leads it": {[]string{"beta"}, nil, `{"server":"beta"}`, "beta"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{cluster: cluster{status: three(), leaders: test.leaders}}
			s := start(t, f)
			if got := strings.Fields(s.want(append([]string{"cluster", "transfer"}, test.args...)...)); len(got) != 4 ||
				got[2] != test.want || got[3] != "leads" {
				t.Errorf("got %q", got)
			}
			if diff := cmp.Diff([]string{"POST /api/v1/cluster/transfer " + test.body}, f.cluster.asked); diff != "" {
				t.Error(diff)
			}
		})
	}
	f := &fake{cluster: cluster{status: three(), refusal: crony.Errorf(crony.Conflict, "there is no other")}}
	if r := start(t, f).run("cluster", "transfer"); r != (result{1, "", "crony: there is no other\n"}) {
		t.Errorf("refused: %+v", r)
	}
}

func TestClusterRotateCA(t *testing.T) {
	f := &fake{cluster: cluster{status: three()}}
	f.cluster.status.Authorities = []crony.AuthorityStatus{
		{Fingerprint: newAuthority, Current: true, EndsAt: noon.Add(3650 * 24 * time.Hour), Servers: 1, Agents: 2},
		{Fingerprint: oldAuthority, EndsAt: noon.Add(24 * time.Hour), Servers: 1, Agents: 12},
	}
	f.cluster.status.Servers[0].Trusts = []string{newAuthority, oldAuthority}
	s := start(t, f)
	r := s.run("cluster", "rotate-ca")
	want := result{0, `AUTHORITY          STATE             ENDS      SERVERS  AGENTS
2222222222222222…  signs             in 3650d  1        2
1111111111111111…  is still trusted  in 24h    1        12
`, "crony: a new authority signs from now on; servers and agents renew their certificates by themselves\n" +
		"crony: to be restarted, one after the other: beta, gamma\n" +
		"crony: `crony cluster status` shows who depends on which\n" +
		"hint: when none needs the old one: crony cluster rotate-ca --finish\n"}
	if r != want {
		t.Errorf("got %+v\nwant %+v", r, want)
	}
	if r := s.run("cluster", "rotate-ca", "--force"); r.code != 2 || !strings.Contains(r.stderr, "--force is for the last step") {
		t.Errorf("got %+v", r)
	}
	if r := s.run("cluster", "rotate-ca", "--finish", "-o", "json"); r.code != 0 || !strings.HasPrefix(r.stdout, "[\n") ||
		!strings.Contains(r.stderr, "must join anew") {
		t.Errorf("got %+v", r)
	}
	s.want("cluster", "rotate-ca", "--finish", "--force")
	asked := []string{`POST /api/v1/cluster/authority {"step":"start"}`, `POST /api/v1/cluster/authority {"step":"finish"}`,
		`POST /api/v1/cluster/authority {"step":"finish","force":true}`}
	if diff := cmp.Diff(asked, f.cluster.asked); diff != "" {
		t.Error(diff)
	}
	f.cluster.refusal = crony.Errorf(crony.Conflict, "beta and web-1 depend on it still").WithHint("wait")
	if r := s.run("cluster", "rotate-ca", "--finish"); r != (result{1, "", "crony: beta and web-1 depend on it still\nhint: wait\n"}) {
		t.Errorf("refused: %+v", r)
	}
}

func TestAgentRemove(t *testing.T) {
	f := &fake{}
	s := start(t, f)
	if r := s.run("agent", "remove", "web-1"); r.code != 2 || len(f.cluster.asked) != 0 {
		t.Errorf("without a terminal: %+v", r)
	}
	s.terminal, s.stdin = true, strings.NewReader("y\n")
	r := s.run("agent", "remove", "web-1")
	if want := (result{0, "NAME   ACTION\nweb-1  removed\n", "Take the agent web-1 out of the fleet for good? [y/N] "}); r != want {
		t.Errorf("got %+v", r)
	}
	if diff := cmp.Diff([]string{"DELETE /api/v1/agents/web-1 "}, f.cluster.asked); diff != "" {
		t.Error(diff)
	}
	f.cluster.refusal = crony.Errorf(crony.NotFound, "there is no agent %q", "none")
	if r := s.run("agent", "remove", "none", "-y"); r != (result{3, "", "crony: there is no agent \"none\"\n"}) {
		t.Errorf("got %+v", r)
	}
}
