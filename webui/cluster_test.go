package webui

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"crony"
	"crony/sdk"
	"crony/webui/api"

	"github.com/google/go-cmp/cmp"
)

// fakeCluster is a cluster in memory. It writes down what is asked of it, and by whom.
type fakeCluster struct {
	mu     sync.Mutex
	status crony.ClusterStatus
	tokens []crony.JoinToken
	asked  []string
	err    error // of every call, if set
}

func (f *fakeCluster) ask(ctx context.Context, format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, crony.ActorFrom(ctx)+": "+fmt.Sprintf(format, args...))
	return f.err
}

func (f *fakeCluster) ClusterStatus(ctx context.Context) (crony.ClusterStatus, error) {
	return f.status, f.ask(ctx, "status")
}

func (f *fakeCluster) RemoveServer(ctx context.Context, server string) error {
	if err := f.ask(ctx, "remove %s", server); err != nil {
		return err
	}
	i := slices.IndexFunc(f.status.Servers, func(s crony.ServerStatus) bool { return s.ID == server || s.Name == server })
	if i < 0 {
		return crony.Errorf(crony.NotFound, "there is no server %q", server)
	}
	f.status.Servers = slices.Delete(f.status.Servers, i, i+1)
	return nil
}

func (f *fakeCluster) PromoteServer(ctx context.Context, server string) error {
	return f.ask(ctx, "promote %s", server)
}

func (f *fakeCluster) TransferLeadership(ctx context.Context, server string) error {
	return f.ask(ctx, "transfer to %q", server)
}

func (f *fakeCluster) RotateAuthority(ctx context.Context, step crony.RotateStep, force bool) error {
	return f.ask(ctx, "rotate %s %v", step, force)
}

func (f *fakeCluster) RemoveAgent(ctx context.Context, agent string) error {
	return f.ask(ctx, "remove agent %s", agent)
}

func (f *fakeCluster) CreateJoinToken(ctx context.Context, spec crony.JoinTokenSpec) (crony.JoinToken, error) {
	if err := spec.Complete(); err != nil {
		return crony.JoinToken{}, err
	}
	token := crony.JoinToken{ID: "token0001", For: spec.For, Uses: spec.Uses, CreatedAt: noon, CreatedBy: crony.ActorFrom(ctx),
		ExpiresAt: noon.Add(spec.TTL.Std()), Secret: "secret"}
	f.tokens = append(f.tokens, token)
	return token, f.ask(ctx, "create a token")
}

func (f *fakeCluster) ListJoinTokens(ctx context.Context) ([]crony.JoinToken, error) {
	return f.tokens, f.ask(ctx, "list tokens")
}

func (f *fakeCluster) DeleteJoinToken(ctx context.Context, id string) error {
	if err := f.ask(ctx, "delete token %s", id); err != nil {
		return err
	}
	if len(f.tokens) == 0 || f.tokens[0].ID != id {
		return crony.Errorf(crony.NotFound, "there is no join token %q", id)
	}
	f.tokens = nil
	return nil
}

// clusterOfTwo has a value in every field.
func clusterOfTwo() crony.ClusterStatus {
	return crony.ClusterStatus{
		ID: "c1", Server: "s1", Leader: "s1", Revision: 42, Quorum: 2, Warnings: []string{"two servers are no better than one"},
		Servers: []crony.ServerStatus{{
			ID: "s1", Name: "a", State: crony.ServerUp, Leader: true, Trouble: "its disk is slow", Version: "v1",
			Peer: "127.0.0.1:8472", Agents: "127.0.0.1:8471", People: "https://127.0.0.1:8470", StartedAt: noon, Connected: 3,
			Behind: 1, StoreSize: 16 * crony.MiB, StoreInUse: 3 * crony.KiB, Authority: "ab", CertificateEnd: noon.Add(time.Hour),
			Trusts: []string{"ab"},
			RunLog: &crony.RunLogStatus{Whole: true, Copying: 1, Others: []crony.RunLogOther{{Server: "s2", Behind: 7, BehindSince: noon,
				ComparedAt: noon, DifferingDays: 2}}},
		}, {ID: "s2", Name: "b", State: crony.ServerDown, Peer: "127.0.0.2:8472"}},
		Authorities: []crony.AuthorityStatus{{Fingerprint: "ab", Current: true, EndsAt: noon.Add(time.Hour), Servers: 1, Agents: 3}},
	}
}

// TestClusterByREST: what an administrator asks of the client is asked of the cluster, and answered alike.
func TestClusterByREST(t *testing.T) {
	cluster := &fakeCluster{status: clusterOfTwo()}
	r := newRig(t, func(o *Options) { o.Cluster = cluster })
	addr, _ := r.listen(t, nil)
	client, err := sdk.New(sdk.Options{Address: "http://" + addr, Token: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	status, err := client.ClusterStatus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(clusterOfTwo(), status); diff != "" {
		t.Error(diff)
	}
	token, err := client.CreateJoinToken(ctx, crony.JoinTokenSpec{For: crony.JoinAgent, TTL: crony.Duration(2 * time.Hour)})
	want := crony.JoinToken{ID: "token0001", For: crony.JoinAgent, Uses: 1, CreatedAt: noon, CreatedBy: "the-admin",
		ExpiresAt: noon.Add(2 * time.Hour), Secret: "secret"}
	if diff := cmp.Diff(want, token); diff != "" || err != nil {
		t.Error(err, diff)
	}
	want.Secret = ""
	tokens, err := client.ListJoinTokens(ctx)
	if diff := cmp.Diff([]crony.JoinToken{want}, tokens); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for name, call := range map[string]func() error{
		"remove b":               func() error { return client.RemoveServer(ctx, "b") },
		"promote a/b":            func() error { return client.PromoteServer(ctx, "a/b") },
		`transfer to ""`:         func() error { return client.TransferLeadership(ctx, "") },
		`transfer to "s1"`:       func() error { return client.TransferLeadership(ctx, "s1") },
		"rotate start false":     func() error { return client.RotateAuthority(ctx, crony.RotateStart, false) },
		"rotate finish true":     func() error { return client.RotateAuthority(ctx, crony.RotateFinish, true) },
		"remove agent web 1":     func() error { return client.RemoveAgent(ctx, "web 1") },
		"delete token token0001": func() error { return client.DeleteJoinToken(ctx, "token0001") },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if last := cluster.asked[len(cluster.asked)-1]; last != "the-admin: "+name {
			t.Errorf("%s: asked %s", name, last)
		}
	}
	if err := client.RemoveServer(ctx, "b"); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("remove again: %v", err)
	}
}

// TestClusterForms: what is empty is a list, and every answer is as the contract says.
func TestClusterForms(t *testing.T) {
	cluster := &fakeCluster{}
	r := newRig(t, func(o *Options) { o.Cluster = cluster })
	got := r.do(t, call{method: "GET", path: apiBase + "/cluster", as: "viewer"})
	if got.StatusCode != 200 || !strings.Contains(string(got.body), `"servers":[],"authorities":[]`) {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	got = r.do(t, call{method: "GET", path: apiBase + "/join-tokens", as: "admin"})
	if string(got.body) != `{"items":[]}` {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	got = r.do(t, call{method: "POST", path: apiBase + "/join-tokens", as: "admin", body: `{"for":"server","ttl":"1d","uses":3}`})
	if token := decode[crony.JoinToken](t, got.body); got.StatusCode != 201 || token.Secret == "" || token.Uses != 3 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	cluster.status = clusterOfTwo()
	r.do(t, call{method: "GET", path: apiBase + "/cluster", as: "viewer"})
	for _, c := range []call{
		{method: "DELETE", path: apiBase + "/cluster/servers/a"},
		{method: "POST", path: apiBase + "/cluster/servers/a/promote"},
		{method: "POST", path: apiBase + "/cluster/transfer", body: `{}`},
		{method: "POST", path: apiBase + "/cluster/authority", body: `{"step":"finish","force":true}`},
		{method: "DELETE", path: apiBase + "/agents/a"},
		{method: "DELETE", path: apiBase + "/join-tokens/token0001"},
	} {
		c.as = "admin"
		if got := r.do(t, c); got.StatusCode != 204 {
			t.Errorf("%s %s: %d %s", c.method, c.path, got.StatusCode, got.body)
		}
	}
}

// clusterRoutes are all that only an administrator may ask, with a body that would do.
func clusterRoutes() []call {
	return []call{
		{method: "DELETE", path: apiBase + "/cluster/servers/a"},
		{method: "POST", path: apiBase + "/cluster/servers/a/promote"},
		{method: "POST", path: apiBase + "/cluster/transfer", body: `{"server":"a"}`},
		{method: "POST", path: apiBase + "/cluster/authority", body: `{"step":"start"}`},
		{method: "DELETE", path: apiBase + "/agents/a"},
		{method: "GET", path: apiBase + "/join-tokens"},
		{method: "POST", path: apiBase + "/join-tokens", body: `{"for":"agent"}`},
		{method: "DELETE", path: apiBase + "/join-tokens/a"},
		{method: "GET", path: apiBase + "/backup"},
		{method: "HEAD", path: apiBase + "/backup"},
	}
}

func TestClusterIsForAdmins(t *testing.T) {
	cluster := &fakeCluster{}
	r := newRig(t, func(o *Options) { o.Cluster = cluster })
	for _, c := range clusterRoutes() {
		c.as = "editor"
		if got := r.do(t, c); got.StatusCode != 403 {
			t.Errorf("%s %s: %d %s", c.method, c.path, got.StatusCode, got.body)
		}
		c.as = ""
		if got := r.do(t, c); got.StatusCode != 401 {
			t.Errorf("%s %s of a stranger: %d %s", c.method, c.path, got.StatusCode, got.body)
		}
	}
	if len(cluster.asked) != 0 {
		t.Errorf("the cluster was asked %q", cluster.asked)
	}
}

func TestRefusedByTheCluster(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Cluster = &fakeCluster{} })
	for name, test := range map[string]struct {
		path, body string
		status     int
		says       string
	}{
		"no step":           {"/cluster/authority", `{}`, 422, "one of: start, finish"},
		"an unknown step":   {"/cluster/authority", `{"step":"end"}`, 422, "start, finish"},
		"an unknown key":    {"/cluster/authority", `{"step":"start","forced":true}`, 422, `did you mean \"force\"`},
		"no body":           {"/cluster/transfer", ``, 415, "application/json"},
		"no server's name":  {"/cluster/transfer", `{"server":["a"]}`, 422, "server"},
		"no role":           {"/join-tokens", `{}`, 422, "--for server or --for agent"},
		"an unknown role":   {"/join-tokens", `{"for":"people"}`, 422, "agent"},
		"a ttl that is bad": {"/join-tokens", `{"for":"agent","ttl":"soon"}`, 422, "ttl"},
		"too long a ttl":    {"/join-tokens", `{"for":"agent","ttl":"31d"}`, 422, "1m to 30d"},
		"too many uses":     {"/join-tokens", `{"for":"agent","uses":10001}`, 422, "1 to 10000"},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.do(t, call{method: "POST", path: apiBase + test.path, body: test.body, as: "admin"})
			if p := got.problem(t); p.Status != test.status || p.Code != api.Invalid || !strings.Contains(string(got.body), test.says) {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
}

// TestRevision: an answer says how new it is: a reading at least as of before it, a change as of after it.
func TestRevision(t *testing.T) {
	revision := int64(0)
	r := newRig(t, func(o *Options) { o.Revision = func() int64 { revision++; return revision } })
	revision = 6
	read := r.do(t, call{method: "GET", path: apiBase + "/jobs", as: "viewer"})
	refused := r.do(t, call{method: "DELETE", path: apiBase + "/jobs/none", as: "editor"})
	stranger := r.do(t, call{method: "GET", path: apiBase + "/jobs"})
	r.jobs.jobs["hello"] = crony.JobStatus{}
	changed := r.do(t, call{method: "DELETE", path: apiBase + "/jobs/hello", as: "editor"})
	signedIn := r.do(t, call{method: "POST", path: apiBase + "/session", body: `{"token":"viewer"}`})
	revision = -1
	unknown := r.do(t, call{method: "GET", path: apiBase + "/jobs", as: "viewer"})
	for i, test := range []struct {
		got  answer
		want string
	}{{read, "7"}, {refused, ""}, {stranger, ""}, {changed, "8"}, {signedIn, "9"}, {unknown, ""}} {
		if got := test.got.Header.Get("Crony-Revision"); got != test.want {
			t.Errorf("%d: %q, want %q", i, got, test.want)
		}
	}
}
