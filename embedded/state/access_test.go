package state

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

const hour = time.Hour

func (r *rig) newLink(ttl time.Duration) string {
	r.t.Helper()
	secret, err := r.CreateLink(r.ctx(), "link-x", "ann", crony.Admin, ttl)
	if err != nil {
		r.t.Fatal(err)
	}
	return secret
}

func (r *rig) newToken(id string) string {
	r.t.Helper()
	secret, err := r.CreateToken(r.ctx(), id, "bob", crony.Viewer)
	if err != nil {
		r.t.Fatal(err)
	}
	return secret
}

func (r *rig) signIn(secret string) (crony.Session, string) {
	r.t.Helper()
	session, own, err := r.SignIn(r.ctx(), secret)
	if err != nil {
		r.t.Fatal(err)
	}
	return session, own
}

func (r *rig) unauthorized(what string, err error) {
	r.t.Helper()
	if crony.CodeOf(err) != crony.Unauthorized {
		r.t.Errorf("%s: %v, want unauthorized", what, err)
	}
}

// TestLinkSignsInOnce has fifty try one link at once, through two servers.
func TestLinkSignsInOnce(t *testing.T) {
	client := emptied(t)
	servers := []*rig{newRig(t, client), newRig(t, client)}
	r := servers[0]
	leases := r.leases()
	secret := r.newLink(hour)
	if err := servers[1].sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	var (
		all   sync.WaitGroup
		start = make(chan struct{})
		in    atomic.Int64
		own   atomic.Value
	)
	for n := range 50 {
		all.Go(func() {
			<-start
			_, s, err := servers[n%2].SignIn(t.Context(), secret)
			if err == nil {
				in.Add(1)
				own.Store(s)
				return
			}
			r.unauthorized("another try", err)
		})
	}
	close(start)
	all.Wait()
	if in.Load() != 1 {
		t.Fatalf("the link signed in %d times", in.Load())
	}
	if got := r.keys(tokens); len(got) != 0 {
		t.Errorf("a spent link is kept: %v", got)
	}
	if n := r.leases(); n != leases+1 || len(r.keys(sessions)) != 1 {
		t.Errorf("%d leases more than before and the sessions %v; want one each", n-leases, r.keys(sessions))
	}
	for _, s := range servers {
		s.wait("the session", func() bool {
			session, err := s.Authenticate(t.Context(), own.Load().(string))
			return err == nil && session.Name == "ann" && session.Role == crony.Admin
		})
	}
}

func TestExpiry(t *testing.T) {
	r := newRig(t, emptied(t))
	leases := r.leases()
	late := r.newLink(10 * time.Minute)
	r.clock.forward(10 * time.Minute)
	_, _, err := r.SignIn(t.Context(), late)
	r.unauthorized("a link that is too old", err)

	inTime := r.newLink(10 * time.Minute)
	if n := r.leases(); n != leases+1 {
		t.Errorf("a link made anew leaves %d leases", n-leases)
	}
	r.clock.forward(10*time.Minute - 1)
	session, own := r.signIn(inTime)
	if !session.ExpiresAt.Equal(r.now().Add(sessionTTL)) {
		t.Errorf("the session lasts until %v, now is %v", session.ExpiresAt, r.now())
	}
	r.clock.forward(sessionTTL - 1)
	if _, err := r.Authenticate(t.Context(), own); err != nil {
		t.Errorf("shortly before it ends: %v", err)
	}
	r.clock.forward(1)
	_, err = r.Authenticate(t.Context(), own)
	r.unauthorized("a session that has ended", err)

	token := r.newToken("ci")
	r.clock.forward(10 * 365 * 24 * hour)
	if _, err := r.AuthenticateToken(t.Context(), token); err != nil {
		t.Errorf("a token of ten years: %v", err)
	}
	if _, err := r.CreateLink(t.Context(), "short", "x", crony.Viewer, time.Millisecond); err != nil {
		t.Errorf("a link for a moment: %v", err)
	}
}

func TestSecrets(t *testing.T) {
	r := newRig(t, emptied(t))
	link, token := r.newLink(hour), r.newToken("under_score")
	other := r.newToken("other")
	_, session := r.signIn(token)
	ctx := t.Context()

	if s, err := r.AuthenticateToken(ctx, token); err != nil || s.Name != "bob" || s.Role != crony.Viewer {
		t.Errorf("a token: %+v, %v", s, err)
	}
	try := map[string]func(secret string) error{
		"sign in": func(secret string) error { _, _, err := r.SignIn(ctx, secret); return err },
		"session": func(secret string) error { _, err := r.Authenticate(ctx, secret); return err },
		"token":   func(secret string) error { _, err := r.AuthenticateToken(ctx, secret); return err },
	}
	for what, secret := range map[string]string{"link": link, "token": token, "session": session} {
		random := secret[strings.LastIndexByte(secret, '_')+1:]
		id := secret[:len(secret)-len(random)]
		for _, wrong := range []string{
			"", "_", "__", "crony", "crony_", "crony__", secret[:len(secret)-1], secret + "A", id, id + strings.ToLower(random),
			id + random[1:] + random[:1], " " + secret, strings.TrimPrefix(secret, "crony"), "Crony" + secret[len("crony"):],
			id + hashOf(random), id + other[strings.LastIndexByte(other, '_')+1:], "crony_nobody_" + random,
			"crony_../session/" + id[len("crony_"):] + random,
		} {
			for kind, call := range try {
				if err := call(wrong); crony.CodeOf(err) != crony.Unauthorized {
					t.Errorf("%s with %q, made from a %s's secret: %v", kind, wrong, what, err)
				}
			}
		}
	}
	r.unauthorized("a link as a token", try["token"](link))
	r.unauthorized("a link as a session", try["session"](link))
	r.unauthorized("a token as a session", try["session"](token))
	r.unauthorized("a session as a token", try["token"](session))
	r.unauthorized("a session to sign in", try["sign in"](session))
	r.noSecrets(link, token, other, session)

	again := r.newToken("under_score")
	r.unauthorized("a token that was replaced", try["token"](token))
	if err := try["token"](again); err != nil {
		t.Error(err)
	}
	if err := try["session"](session); err != nil {
		t.Errorf("the session of a token that was replaced: %v", err)
	}
}

// noSecrets looks for secrets in all that is stored.
func (r *rig) noSecrets(secrets ...string) {
	r.t.Helper()
	resp, err := r.client.Get(r.ctx(), "", clientv3.WithPrefix())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		for _, secret := range secrets {
			random := secret[strings.LastIndexByte(secret, '_')+1:]
			if len(random) < 26 {
				r.t.Errorf("%d characters of base32 are fewer than 128 bits", len(random))
			}
			if strings.Contains(string(kv.Key)+string(kv.Value), random) {
				r.t.Errorf("%s holds a secret: %s", kv.Key, kv.Value)
			}
		}
	}
}

func TestSignOut(t *testing.T) {
	r := newRig(t, emptied(t))
	leases := r.leases()
	token := r.newToken("ci")
	_, one := r.signIn(token)
	_, two := r.signIn(token)
	if one == two {
		t.Error("two sessions have one secret")
	}
	for range 2 { // the second time it is over already
		if err := r.SignOut(t.Context(), one); err != nil {
			t.Error(err)
		}
	}
	_, err := r.Authenticate(t.Context(), one)
	r.unauthorized("a session that was ended", err)
	if _, err := r.Authenticate(t.Context(), two); err != nil {
		t.Errorf("another session of the same person: %v", err)
	}
	if err := r.SignOut(t.Context(), token); err != nil { // no session
		t.Error(err)
	}
	if _, err := r.AuthenticateToken(t.Context(), token); err != nil {
		t.Errorf("the token: %v", err)
	}
	if n := r.leases(); n != leases+1 {
		t.Errorf("%d leases for one session", n-leases)
	}
}

func TestNoSecretWithAnError(t *testing.T) {
	r := newRig(t, emptied(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := r.CreateToken(ctx, "x", "x", crony.Viewer); err == nil || s != "" {
		t.Errorf("a token that was not stored: %q, %v", s, err)
	}
	if s, err := r.CreateLink(ctx, "x", "x", crony.Viewer, hour); err == nil || s != "" {
		t.Errorf("a link that was not stored: %q, %v", s, err)
	}
	if session, s, err := r.SignIn(ctx, r.newToken("y")); err == nil || s != "" || session != (crony.Session{}) {
		t.Errorf("a session that was not stored: %+v, %q, %v", session, s, err)
	}
}
