package state

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony"
)

// TestRestored looks at what is left of a keyspace that comes from a backup.
func TestRestored(t *testing.T) {
	r := newRig(t, emptied(t))
	r.define(job1("backup", "x"))
	token, link := r.newToken("t1"), r.newLink(hour)
	_, session := r.signIn(token)
	if _, err := r.RegisterAgent(r.ctx(), crony.Agent{ID: "a1", Name: "alpha"}); err != nil {
		t.Fatal(err)
	}
	before := r.keys("")
	added := []string{joins + "j1", servers + "s1", ups + "s1"}
	for _, key := range added {
		r.put(key, `{"v":1,"body":{}}`)
	}
	if err := r.Restored(r.ctx()); err != nil {
		t.Fatal(err)
	}

	var want []string
	for _, key := range before {
		if !strings.HasPrefix(key, sessions) && key != tokens+"link-x" {
			want = append(want, key)
		}
	}
	if len(want) != len(before)-2 {
		t.Fatalf("there were no session and no link among %q", before)
	}
	if diff := cmp.Diff(want, r.keys("")); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if _, err := r.AuthenticateToken(r.ctx(), token); err != nil {
		t.Error(err)
	}
	_, err := r.Authenticate(r.ctx(), session)
	r.unauthorized("a session", err)
	_, _, err = r.SignIn(r.ctx(), link)
	r.unauthorized("a link", err)
	if n := r.Counts().Agents; n != 1 {
		t.Errorf("%d agents, want 1", n)
	}
	if err := r.Restored(r.ctx()); err != nil {
		t.Errorf("again: %v", err)
	}
}
