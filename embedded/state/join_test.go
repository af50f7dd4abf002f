package state

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
)

const authorityOfTest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func (r *rig) newJoinToken(spec crony.JoinTokenSpec) (crony.JoinToken, crony.JoinSecret) {
	r.t.Helper()
	token, err := r.CreateJoinToken(crony.WithActor(r.ctx(), "ann"), spec, authorityOfTest)
	if err != nil {
		r.t.Fatal(err)
	}
	secret, err := crony.ParseJoinSecret(token.Secret)
	if err != nil {
		r.t.Fatal(err)
	}
	return token, secret
}

// redeem uses a token, which must go well.
func (r *rig) redeem(secret crony.JoinSecret, key, newID string) string {
	r.t.Helper()
	id, err := r.RedeemJoinToken(r.ctx(), secret, key, newID)
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// refuses checks that a token can't be used, and that the reason has a text.
func (r *rig) refuses(what string, secret crony.JoinSecret, key, reason string) {
	r.t.Helper()
	id, err := r.RedeemJoinToken(r.ctx(), secret, key, "new")
	if crony.CodeOf(err) != crony.Unauthorized || id != "" || !strings.Contains(err.Error(), reason) {
		r.t.Errorf("%s: %q, %v; want unauthorized: %s", what, id, err, reason)
	}
}

func (r *rig) joinTokens() []crony.JoinToken {
	r.t.Helper()
	list, err := r.ListJoinTokens(r.ctx())
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func TestJoinToken(t *testing.T) {
	r := newRig(t, emptied(t))
	leases := r.leases()
	if list := r.joinTokens(); list == nil || len(list) != 0 {
		t.Errorf("tokens: %#v", list)
	}
	made, secret := r.newJoinToken(crony.JoinTokenSpec{For: crony.JoinAgent, Uses: 2})
	want := crony.JoinToken{ID: made.ID, For: crony.JoinAgent, Uses: 2, CreatedAt: noon, CreatedBy: "ann",
		ExpiresAt: noon.Add(crony.DefaultJoinTTL)}
	if diff := cmp.Diff([]crony.JoinToken{want}, r.joinTokens()); diff != "" || secret.Fingerprint != authorityOfTest {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
	r.noSecrets(made.Secret[:strings.LastIndexByte(made.Secret, '_')])

	for range 3 { // whatever id is offered, and wherever there are slashes
		if id := r.redeem(secret, "key/of/one", fmt.Sprint("id-", r.Revision())); id != r.redeem(secret, "key/of/one", "x") {
			t.Errorf("the same key joins as %s and as another", id)
		}
	}
	if list := r.joinTokens(); len(list) != 1 || list[0].Uses != 1 {
		t.Errorf("one key took more than one use: %+v", list)
	}
	r.redeem(secret, "key of two", "second")
	r.refuses("a third key", secret, "key of three", "used up")
	if id := r.redeem(secret, "key of two", "x"); id != "second" {
		t.Errorf("asked again when it is used up: %q", id)
	}
	if list := r.joinTokens(); len(list) != 0 {
		t.Errorf("what is used up is listed: %+v", list)
	}

	r.clock.forward(crony.DefaultJoinTTL - 1)
	r.redeem(secret, "key of two", "x")
	r.clock.forward(1)
	r.refuses("a token that is too old", secret, "key of two", "expired")
	if err := r.DeleteJoinToken(t.Context(), made.ID); err != nil {
		t.Fatal(err)
	}
	r.refuses("a token that was deleted", secret, "key of two", "not valid")
	if err := r.DeleteJoinToken(t.Context(), made.ID); crony.CodeOf(err) != crony.NotFound {
		t.Errorf("deleted again: %v", err)
	}
	if left := r.keys(joins); len(left) > 0 || r.leases() != leases {
		t.Errorf("left: %v, and %d leases", left, r.leases()-leases)
	}
}

func TestJoinTokenIsRefused(t *testing.T) {
	r := newRig(t, emptied(t))
	_, agents := r.newJoinToken(crony.JoinTokenSpec{For: crony.JoinAgent})
	_, servers := r.newJoinToken(crony.JoinTokenSpec{For: crony.JoinServer, TTL: crony.Duration(time.Minute)})
	for what, change := range map[string]func(*crony.JoinSecret){
		"another's secret":            func(s *crony.JoinSecret) { s.Random = servers.Random },
		"a hash":                      func(s *crony.JoinSecret) { s.Random = hashOf(s.Random) },
		"no secret":                   func(s *crony.JoinSecret) { s.Random = "" },
		"an agent's for a server":     func(s *crony.JoinSecret) { s.For = crony.JoinServer },
		"an unknown token":            func(s *crony.JoinSecret) { s.ID = "unknown1" },
		"no token":                    func(s *crony.JoinSecret) { *s = crony.JoinSecret{} },
		"another token's id":          func(s *crony.JoinSecret) { s.ID = servers.ID },
		"an entry of a token as one":  func(s *crony.JoinSecret) { s.ID += "/x" },
		"a server's secret, an agent": func(s *crony.JoinSecret) { *s = servers; s.For = crony.JoinAgent },
	} {
		wrong := agents
		change(&wrong)
		r.refuses(what, wrong, "key", "not valid")
	}
	wrong := servers
	wrong.Random = agents.Random
	r.clock.forward(time.Minute)
	r.refuses("an expired token with a wrong secret", wrong, "key", "not valid") // and not a word about its time
	r.refuses("an expired token", servers, "key", "expired")
	if id := r.redeem(agents, "key", "a1"); id != "a1" {
		t.Errorf("after all that was refused the token gives %q", id)
	}
	if list := r.joinTokens(); len(list) != 0 {
		t.Errorf("tokens: %+v", list)
	}

	for _, spec := range []crony.JoinTokenSpec{{}, {For: "people"}, {For: crony.JoinAgent, TTL: 1}, {For: crony.JoinAgent, Uses: -1}} {
		if token, err := r.CreateJoinToken(t.Context(), spec, authorityOfTest); crony.CodeOf(err) != crony.Invalid || token.Secret != "" {
			t.Errorf("%+v: %+v, %v", spec, token, err)
		}
	}
}

// TestJoinOnce has twenty hosts use a token that is good for one, through two servers; then twenty requests of one host.
func TestJoinOnce(t *testing.T) {
	client := emptied(t)
	rigs := []*rig{newRig(t, client), newRig(t, client)}
	for _, same := range []bool{false, true} {
		_, secret := rigs[0].newJoinToken(crony.JoinTokenSpec{For: crony.JoinAgent})
		var (
			all   sync.WaitGroup
			start = make(chan struct{})
			mu    sync.Mutex
			ids   = map[string]int{}
		)
		for n := range 20 {
			key := "the key"
			if !same {
				key = fmt.Sprint("key ", n)
			}
			all.Go(func() {
				<-start
				id, err := rigs[n%2].RedeemJoinToken(t.Context(), secret, key, fmt.Sprint("id-", n))
				if err != nil && crony.CodeOf(err) != crony.Unauthorized {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				ids[id]++
			})
		}
		close(start)
		all.Wait()
		switch {
		case same && (len(ids) != 1 || ids[""] > 0):
			t.Errorf("one host joined as %v", ids)
		case !same && (len(ids) != 2 || ids[""] != 19):
			t.Errorf("twenty hosts joined as %v", ids)
		}
	}
}

// TestJoinAnswerIsLost: a host that was not told asks again, of the same server or of another, and takes one use.
func TestJoinAnswerIsLost(t *testing.T) {
	client := emptied(t)
	r, other := newRig(t, client), newRig(t, client)
	_, secret := r.newJoinToken(crony.JoinTokenSpec{For: crony.JoinServer, Uses: 2})
	r.strike(replyLost)
	if id, err := r.RedeemJoinToken(t.Context(), secret, "key", "s1"); crony.CodeOf(err) != crony.Unavailable || id != "" {
		t.Errorf("%q, %v", id, err)
	}
	r.strike(nil)
	for _, r := range []*rig{r, other, r} {
		if id := r.redeem(secret, "key", "s2"); id != "s1" {
			t.Errorf("asked again: %q", id)
		}
	}
	if list := r.joinTokens(); len(list) != 1 || list[0].Uses != 1 {
		t.Errorf("tokens: %+v", list)
	}
}

// TestJoinTokenIsLost: of a token whose making went wrong nobody has the secret, and nothing is left.
func TestJoinTokenIsLost(t *testing.T) {
	r := newRig(t, emptied(t))
	leases := r.leases()
	r.strike(replyLost)
	if token, err := r.CreateJoinToken(t.Context(), crony.JoinTokenSpec{For: crony.JoinAgent}, authorityOfTest); err == nil || token.Secret != "" {
		t.Errorf("%+v, %v", token, err)
	}
	r.strike(nil)
	if left := r.keys(joins); len(left) > 0 || r.leases() != leases {
		t.Errorf("left: %v, and %d leases", left, r.leases()-leases)
	}
}

// TestJoinTokenIsCleared: a token and all who joined by it go when its lease ends.
func TestJoinTokenIsCleared(t *testing.T) {
	r := newRig(t, emptied(t))
	made, secret := r.newJoinToken(crony.JoinTokenSpec{For: crony.JoinAgent, Uses: 3})
	r.redeem(secret, "one", "a1")
	r.redeem(secret, "two", "a2")
	r.revokeLease(joins + made.ID)
	if err := r.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := r.keys(joins); len(left) > 0 || len(r.mirror.cluster.joins)+len(r.mirror.cluster.joined) > 0 {
		t.Errorf("left: %v", left)
	}
	r.refuses("a token that was cleared away", secret, "one", "not valid")
}
