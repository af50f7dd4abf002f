package sdk

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crony"
	"crony/internal/pki"
)

// must is for what can't go wrong in a test: must(f())(t).
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newCA(t testing.TB, cluster string) *pki.CA {
	t.Helper()
	return must(pki.NewCA(cluster, time.Now()))(t)
}

// secretOf returns a join token that names an authority.
func secretOf(role crony.JoinRole, a pki.Anchors) crony.JoinSecret {
	return crony.JoinSecret{For: role, ID: "token0001", Random: strings.Repeat("SESAME", 5)[:26],
		Fingerprint: a.Roots()[0].Fingerprint()}
}

func joinRequest(t testing.TB) crony.JoinRequest {
	t.Helper()
	request, _, err := pki.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	return crony.JoinRequest{Token: "another", Request: string(request), Name: "web-1", Replace: "web-0"}
}

// signed is what a server of the authority answers to a request.
func signed(t testing.TB, ca *pki.CA, role crony.JoinRole, req crony.JoinRequest, trusted pki.Anchors) crony.JoinAnswer {
	t.Helper()
	who := pki.Identity{Role: pki.Role(role), ID: "h1"}
	return crony.JoinAnswer{Cluster: ca.Root().Cluster(), ID: who.ID, Servers: []string{"10.0.0.1:8471"},
		Certificate: string(must(ca.Sign([]byte(req.Request), who, nil, time.Now()))(t)),
		Authorities: string(pki.NewTrust(trusted.Roots()...).PEM())}
}

// introduced is the certificate that a holder shows to who joins, with the authorities at its end.
func introduced(ca *pki.CA, role pki.Role, now time.Time, shown pki.Anchors) pki.Source {
	return func() (*tls.Certificate, error) {
		leaf, err := ca.Issue(pki.Identity{Role: role, ID: "s1"}, nil, now)
		if err != nil {
			return nil, err
		}
		return leaf.Introduce(shown)
	}
}

// serveTLS starts a server that shows a certificate to whoever asks for a crony server, and returns its address.
func serveTLS(t testing.TB, own pki.Source, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName != pki.ServerName {
			return nil, fmt.Errorf("asked for %q", hello.ServerName)
		}
		return own()
	}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

// joinsBy answers requests to join with what f makes of them.
func joinsBy(t testing.TB, f func(crony.JoinRequest) crony.JoinAnswer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var req crony.JoinRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		line := r.Method + " " + r.RequestURI + " " + r.Header.Get("Content-Type")
		if line != "POST /api/v1/join application/json" || r.Header.Get("Authorization") != "" || len(r.TLS.PeerCertificates) > 0 {
			t.Errorf("%s, with authorization %q", line, r.Header.Get("Authorization"))
		}
		body, err := json.Marshal(f(req))
		if err != nil {
			t.Error(err)
		}
		answer(200, "application/json", string(body))(w, r)
	}
}

// wantRefusal wants an error of a code, with a hint and with a text, that does not tell the token in any way of printing it.
func wantRefusal(t *testing.T, err error, code crony.Code, text string, secret crony.JoinSecret) {
	t.Helper()
	e, ok := errors.AsType[*crony.Error](err)
	if !ok || e.Code != code || e.Hint == "" || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v (%s)\nwant %s with a hint, and %q", err, crony.CodeOf(err), code, text)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if shown := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(shown, secret.Random) {
			t.Errorf("the error tells the token: %s", shown)
		}
	}
}

func TestJoin(t *testing.T) {
	before := newCA(t, "c1")
	next := must(before.Successor(time.Now()))(t)
	both := pki.NewTrust(next.Root(), before.Root())
	for name, c := range map[string]struct {
		signer *pki.CA
		shown  pki.Anchors // by the server
		known  pki.Anchors // to the host, by the token
		role   crony.JoinRole
	}{
		"an agent": {before, before.Root(), before.Root(), crony.JoinAgent},
		"a server": {before, before.Root(), before.Root(), crony.JoinServer},
		"while the authority is replaced, by a token of before": {next, both, before.Root(), crony.JoinAgent},
		"while the authority is replaced, by a token of now":    {next, both, next.Root(), crony.JoinServer},
		"after the authority was replaced":                      {next.Forget(), next.Root(), next.Root(), crony.JoinAgent},
	} {
		t.Run(name, func(t *testing.T) {
			secret, req := secretOf(c.role, c.known), joinRequest(t)
			want := signed(t, c.signer, c.role, req, c.shown)
			want.SealKey = "00"
			var got crony.JoinRequest
			address := serveTLS(t, introduced(c.signer, pki.Server, time.Now(), c.shown),
				joinsBy(t, func(req crony.JoinRequest) crony.JoinAnswer { got = req; return want }))
			for _, address := range []string{address, address + "/", strings.TrimPrefix(address, "https://")} {
				joined, err := Join(t.Context(), address, secret.String(), req)
				if diff := cmp.Diff(want, joined); diff != "" || err != nil {
					t.Errorf("%s: %v\n%s", address, err, diff)
				}
				sent := req
				sent.Token = secret.String()
				if diff := cmp.Diff(sent, got); diff != "" {
					t.Errorf("%s: the request\n%s", address, diff)
				}
			}
		})
	}
}

// TestJoinTellsStrangersNothing has a host with a token meet servers that are not of the token's cluster.
func TestJoinTellsStrangersNothing(t *testing.T) {
	ca, twin, foreign := newCA(t, "c1"), newCA(t, "c1"), newCA(t, "c2")
	now := time.Now()
	bare := must(ca.Issue(pki.Identity{Role: pki.Server, ID: "s1"}, nil, now))(t).Certificate
	secret := secretOf(crony.JoinServer, ca.Root())
	const stranger = "is not of the cluster that the join token is from; nothing was sent to it"
	for name, c := range map[string]struct {
		own  pki.Source
		code crony.Code
		want string
	}{
		"another cluster's server":     {introduced(foreign, pki.Server, now, foreign.Root()), crony.Forbidden, stranger},
		"another authority's":          {introduced(twin, pki.Server, now, twin.Root()), crony.Forbidden, "make a new token"},
		"one that shows another's":     {introduced(twin, pki.Server, now, ca.Root()), crony.Forbidden, stranger},
		"one that shows both":          {introduced(twin, pki.Server, now, pki.NewTrust(twin.Root(), ca.Root())), crony.Forbidden, stranger},
		"one that shows no authority":  {bare, crony.Forbidden, stranger},
		"an agent":                     {introduced(ca, pki.Agent, now, ca.Root()), crony.Forbidden, stranger},
		"one with an old certificate":  {introduced(ca, pki.Server, now.Add(-pki.LeafValidity-time.Hour), ca.Root()), crony.Unavailable, "clocks"},
		"one of the future":            {introduced(ca, pki.Server, now.Add(time.Hour), ca.Root()), crony.Unavailable, "does not hold now"},
		"one that knows no such names": {func() (*tls.Certificate, error) { return nil, errors.New("no") }, crony.Unavailable, "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			address := serveTLS(t, c.own, func(_ http.ResponseWriter, r *http.Request) {
				t.Errorf("it was sent %s %s", r.Method, r.RequestURI)
			})
			_, err := Join(t.Context(), address, secret.String(), joinRequest(t))
			wantRefusal(t, err, c.code, c.want, secret)
		})
	}
}

// TestJoinWhereNoCronyIs has a host with a token meet what is no crony server.
func TestJoinWhereNoCronyIs(t *testing.T) {
	secret := secretOf(crony.JoinAgent, newCA(t, "c1").Root())
	called := func(_ http.ResponseWriter, r *http.Request) { t.Errorf("it was sent %s %s", r.Method, r.RequestURI) }
	plain := httptest.NewServer(http.HandlerFunc(called))
	t.Cleanup(plain.Close)
	website := httptest.NewUnstartedServer(http.HandlerFunc(called))
	website.Config.ErrorLog = log.New(io.Discard, "", 0)
	website.StartTLS()
	t.Cleanup(website.Close)
	closed := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	closed.Close()
	for name, c := range map[string]struct {
		address string
		code    crony.Code
		want    string
	}{
		"plain HTTP": {strings.TrimPrefix(plain.URL, "http://"), crony.Unavailable, "hosts join by HTTPS alone"},
		"a website":  {website.URL, crony.Forbidden, "look at the address"},
		"nothing":    {closed.Addr().String(), crony.Unavailable, "is crony running at https://" + closed.Addr().String()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Join(t.Context(), c.address, secret.String(), joinRequest(t))
			wantRefusal(t, err, c.code, c.want, secret)
		})
	}
}

// TestJoinRefused has the right server say no, or something that is no answer.
func TestJoinRefused(t *testing.T) {
	ca := newCA(t, "c1")
	secret := secretOf(crony.JoinAgent, ca.Root())
	elsewhere := serveTLS(t, introduced(ca, pki.Server, time.Now(), ca.Root()), func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect was followed")
	})
	large := bytes.Repeat([]byte(" "), 1<<20)
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		code    crony.Code
		want    string
	}{
		"an expired token": {answer(401, "application/problem+json",
			`{"status":401,"code":"unauthorized","detail":"the join token expired","hint":"make a new one"}`),
			crony.Unauthorized, "the join token expired (make a new one)"},
		"no quorum": {answer(503, "application/problem+json",
			`{"status":503,"code":"unavailable","detail":"the cluster has no quorum","hint":"see its status"}`),
			crony.Unavailable, "no quorum"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere+"/api/v1/join", http.StatusTemporaryRedirect)
		}, crony.Unavailable, "a redirect to"},
		"a page":               {answer(200, "text/html", "<h1>Hi</h1>"), crony.Unavailable, "does not answer as crony does"},
		"an error's page":      {answer(502, "text/html", "<h1>Bad</h1>"), crony.Unavailable, "502 Bad Gateway"},
		"no content":           {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, crony.Unavailable, "not readable"},
		"JSON of no answer":    {answer(200, "application/json", `[]`), crony.Unavailable, "not readable"},
		"an answer of nothing": {answer(200, "application/json", `{}`), crony.Unavailable, "can't be used: the authorities"},
		"half an answer": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			answer(200, "application/json", `{"cluster":`)(w, r)
		}, crony.Unavailable, "broke off"},
		"an answer without an end": {func(w http.ResponseWriter, r *http.Request) {
			answer(200, "application/json", "")(w, r)
			for {
				if _, err := w.Write(large); err != nil {
					return
				}
			}
		}, crony.Unavailable, "has more than"},
	} {
		t.Run(name, func(t *testing.T) {
			address := serveTLS(t, introduced(ca, pki.Server, time.Now(), ca.Root()), c.handler)
			_, err := Join(t.Context(), address, secret.String(), joinRequest(t))
			wantRefusal(t, err, c.code, c.want, secret)
		})
	}
}

// TestJoinChecksTheAnswer has the right server answer what was not asked for.
func TestJoinChecksTheAnswer(t *testing.T) {
	ca, twin, foreign := newCA(t, "c1"), newCA(t, "c1"), newCA(t, "c2")
	secret, req := secretOf(crony.JoinAgent, ca.Root()), joinRequest(t)
	for name, c := range map[string]struct {
		change func(*crony.JoinAnswer)
		want   string
	}{
		"another's key": {func(a *crony.JoinAnswer) {
			a.Certificate = signed(t, ca, crony.JoinAgent, joinRequest(t), ca.Root()).Certificate
		}, "it is for another key"},
		"another role": {func(a *crony.JoinAnswer) {
			a.Certificate = signed(t, ca, crony.JoinServer, req, ca.Root()).Certificate
		}, "it is that of crony://c1/server/h1, and should be that of crony://c1/agent/h1"},
		"another id":      {func(a *crony.JoinAnswer) { a.ID = "h2" }, "should be that of crony://c1/agent/h2"},
		"another cluster": {func(a *crony.JoinAnswer) { a.Cluster = "c2" }, "should be that of crony://c2/agent/h1"},
		"all of another cluster": {func(a *crony.JoinAnswer) {
			*a = signed(t, foreign, crony.JoinAgent, req, foreign.Root())
		}, "that of the join token is not among them"},
		"all of an authority that the token does not name": {func(a *crony.JoinAnswer) {
			*a = signed(t, twin, crony.JoinAgent, req, twin.Root())
		}, "that of the join token is not among them"},
		"a certificate of another authority": {func(a *crony.JoinAnswer) {
			a.Certificate = signed(t, twin, crony.JoinAgent, req, ca.Root()).Certificate
		}, "unknown authority"},
		"an authority for a certificate":  {func(a *crony.JoinAnswer) { a.Certificate = string(ca.Root().PEM()) }, "can't be used: the certificate"},
		"no certificate":                  {func(a *crony.JoinAnswer) { a.Certificate = "" }, "it is not PEM"},
		"a certificate that is none":      {func(a *crony.JoinAnswer) { a.Certificate = req.Request }, "can't be used: the certificate"},
		"no authorities":                  {func(a *crony.JoinAnswer) { a.Authorities = "" }, "can't be used: the authorities"},
		"authorities of two clusters":     {func(a *crony.JoinAnswer) { a.Authorities += string(foreign.Root().PEM()) }, "of two clusters"},
		"a certificate for the authority": {func(a *crony.JoinAnswer) { a.Authorities = a.Certificate }, "not an authority's"},
	} {
		t.Run(name, func(t *testing.T) {
			address := serveTLS(t, introduced(ca, pki.Server, time.Now(), ca.Root()),
				joinsBy(t, func(req crony.JoinRequest) crony.JoinAnswer {
					a := signed(t, ca, crony.JoinAgent, req, ca.Root())
					c.change(&a)
					return a
				}))
			joined, err := Join(t.Context(), address, secret.String(), req)
			wantRefusal(t, err, crony.Unavailable, c.want, secret)
			if diff := cmp.Diff(crony.JoinAnswer{}, joined); diff != "" {
				t.Errorf("what can't be used is returned:\n%s", diff)
			}
		})
	}
}

// TestJoinIsGivenUp ends the caller's context while a server lets it wait: in the handshake, and with its answer.
func TestJoinIsGivenUp(t *testing.T) {
	ca := newCA(t, "c1")
	secret := secretOf(crony.JoinAgent, ca.Root())
	why := errors.New("the caller has enough")
	for name, serve := range map[string]func(reached func()) string{
		"the handshake": func(reached func()) string {
			listener := must(net.Listen("tcp", "127.0.0.1:0"))(t)
			t.Cleanup(func() { listener.Close() })
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				reached()
				io.Copy(io.Discard, conn) // until the caller hangs up
			}()
			return listener.Addr().String()
		},
		"the answer": func(reached func()) string {
			return serveTLS(t, introduced(ca, pki.Server, time.Now(), ca.Root()), func(_ http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body) // a server sees that the caller hangs up once it has read all
				reached()
				<-r.Context().Done()
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			_, err := Join(ctx, serve(func() { cancel(why) }), secret.String(), joinRequest(t))
			if !errors.Is(err, why) || strings.Contains(err.Error(), secret.Random) {
				t.Errorf("got %v, want the caller's cause", err)
			}
		})
	}
}
