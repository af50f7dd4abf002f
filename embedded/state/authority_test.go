package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony"
)

func TestAuthority(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	if a, rev, ok := r.Authority(); ok || rev != 0 || a.Roots != "" {
		t.Errorf("without one: %+v at %d", a, rev)
	}
	feed := r.Changes("")
	defer feed.Close()
	r.next(feed)
	first := Authority{Sealed: [][]byte{{1, 2}}, Roots: "one"}
	if err := r.PutAuthority(t.Context(), first, 0); err != nil {
		t.Fatal(err)
	}
	r.wantNext(feed, Changes{Cluster: true})
	a, rev, ok := r.Authority()
	if diff := cmp.Diff(first, a); diff != "" || !ok || rev != r.Revision() {
		t.Errorf("at %d, %v (-want +got):\n%s", rev, ok, diff)
	}
	second := Authority{Sealed: [][]byte{{3}, {1, 2}}, Roots: "two"}
	if err := other.PutAuthority(t.Context(), second, 0); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("a second first authority: %v", err)
	}
	if err := other.PutAuthority(t.Context(), second, rev); err != nil {
		t.Error(err)
	}
	if err := r.PutAuthority(t.Context(), first, rev); crony.CodeOf(err) != crony.Conflict {
		t.Errorf("in place of one that was replaced meanwhile: %v", err)
	}
	if got, now, ok := r.Authority(); !ok || now <= rev || !cmp.Equal(got, second) { // the refusal has shown what it was refused for
		t.Errorf("%+v at %d", got, now)
	}
	r.elect()
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wantNext(feed, Changes{Cluster: true})
	r.quiet(feed) // who leads is no news of this kind
}

func TestRecipients(t *testing.T) {
	r := newRig(t, emptied(t))
	if list := r.Recipients(); len(list) != 0 {
		t.Errorf("before anybody said: %v", list)
	}
	for _, want := range [][]string{{"age1x", "age1y"}, {"age1z"}, {}} {
		if err := r.SetRecipients(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		got := r.Recipients()
		if !cmp.Equal(want, got) {
			t.Errorf("recipients %v, want %v", got, want)
		}
		for i := range got {
			got[i] = "changed by who asked"
		}
		if !cmp.Equal(want, r.Recipients()) {
			t.Errorf("who asks changes them: %v", r.Recipients())
		}
	}
}

// TestSetLate: what was asked for again, as there was no answer, comes to pass once more when somebody has set something else since.
func TestSetLate(t *testing.T) {
	r := newRig(t, emptied(t))
	other := newRig(t, r.client)
	late := r.strikeLate()
	if err := r.SetRecipients(t.Context(), []string{"age1old"}); err != nil {
		t.Fatal(err)
	}
	if err := other.SetRecipients(t.Context(), []string{"age1new"}); err != nil {
		t.Fatal(err)
	}
	if _, err := (<-late)(); err != nil {
		t.Fatal(err)
	}

	late = r.strikeLate()
	old, err := r.CreateToken(t.Context(), "x", "ann", crony.Admin)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := other.CreateToken(t.Context(), "x", "ann", crony.Admin)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (<-late)(); err != nil {
		t.Fatal(err)
	}

	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.Recipients(); !cmp.Equal(got, []string{"age1new"}) {
		t.Errorf("recipients: %v", got)
	}
	if _, _, err := r.SignIn(t.Context(), secret); err != nil {
		t.Errorf("with the token that counts: %v", err)
	}
	if _, _, err := r.SignIn(t.Context(), old); crony.CodeOf(err) != crony.Unauthorized {
		t.Errorf("with the token that was replaced: %v", err)
	}
}
