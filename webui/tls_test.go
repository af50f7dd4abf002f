package webui

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/sdk"
	"crony/webui/api"
)

// secured makes a listener speak TLS with a certificate for tests.
func secured(ln net.Listener) net.Listener {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	defer server.Close()
	return tls.NewListener(ln, &tls.Config{Certificates: server.TLS.Certificates})
}

func trusting() *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
}

// TestOverTLS: the cookie is for secure connections, other sites are kept out as without TLS, and HTTP/1.1 is spoken with whoever
// could do more.
func TestOverTLS(t *testing.T) {
	r := newRig(t)
	addr, stop := r.listen(t, secured)
	client := trusting()
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	defer client.CloseIdleConnections()
	post := func(path, body, origin, cookie string) *http.Response {
		t.Helper()
		req, err := http.NewRequest("POST", "https://"+addr+apiBase+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Origin", origin)
		if cookie != "" {
			req.AddCookie(&http.Cookie{Name: cookieName, Value: cookie})
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	in := post("/session", `{"token":"operator"}`, "https://"+addr, "")
	cookies := in.Cookies()
	if len(cookies) != 1 || !cookies[0].Secure || !cookies[0].HttpOnly || in.ProtoMajor != 1 {
		t.Fatalf("%s %v", in.Proto, cookies)
	}
	if got := in.Header.Get("Strict-Transport-Security"); got != "" {
		t.Errorf("the whole host name is bound to TLS without being asked: %q", got)
	}
	r.jobs.jobs["hello"] = crony.JobStatus{Definition: crony.Definition{Job: crony.Job{Name: "hello"}}}
	for origin, want := range map[string]int{"https://" + addr: 200, "https://evil.test": 403, "null": 403} {
		if got := post("/jobs/hello/pause", "", origin, cookies[0].Value); got.StatusCode != want {
			t.Errorf("from %s: %s", origin, got.Status)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestHSTS(t *testing.T) {
	for scheme, test := range map[string]struct {
		wrap func(net.Listener) net.Listener
		want string
	}{"http": {nil, ""}, "https": {secured, "max-age=31536000"}} {
		r := newRig(t, func(o *Options) { o.HSTS = true })
		addr, _ := r.listen(t, test.wrap)
		client := trusting()
		resp, err := client.Get(scheme + "://" + addr + "/livez")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		client.CloseIdleConnections()
		if got := resp.Header.Get("Strict-Transport-Security"); got != test.want {
			t.Errorf("%s: %q", scheme, got)
		}
	}
}

// TestSilentHandshakes: who connects and says nothing, or half a word, holds up nobody, neither when serving nor when
// stopping, and not for ever.
func TestSilentHandshakes(t *testing.T) {
	r := newRig(t)
	addr, stop := r.listen(t, secured)
	quiet := func() net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	for range 50 {
		quiet()
		quiet().Write([]byte{22, 3, 1, 2, 0, 1, 0}) // a handshake's first bytes, of some hundred
	}
	began := time.Now()
	if got := get("https://"+addr+"/livez", ""); got != "200 OK" {
		t.Error(got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("an answer and the end took %s", took)
	}

	r = newRig(t)
	r.app.Server().ReadTimeout = 100 * time.Millisecond
	addr, _ = r.listen(t, secured)
	conn := quiet()
	conn.SetReadDeadline(time.Now().Add(patience))
	if n, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the time for a request: %d bytes, %v", n, err)
	}
}

// TestPlainToTLS: who forgets the s of https is told so.
func TestPlainToTLS(t *testing.T) {
	r := newRig(t)
	addr, _ := r.listen(t, secured)
	client := trusting()
	defer client.CloseIdleConnections()
	for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
		req, err := http.NewRequest(method, "http://"+addr+"/api/v1/jobs", strings.NewReader(strings.Repeat("x", 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		p := decode[api.Problem](t, text)
		if err != nil || resp.StatusCode != 400 || p.Status != 400 || *p.Hint != "write https://" {
			t.Errorf("%s: %v, %s %s", method, err, resp.Status, text)
		}
	}
	plain, err := sdk.New(sdk.Options{Address: "http://" + addr, HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.ListAgents(t.Context()); crony.CodeOf(err) != crony.Invalid || !strings.Contains(err.Error(), "(write https://)") {
		t.Errorf("the client says %v", err)
	}
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("SSH-2.0-OpenSSH_9.2p1\r\n"))
	conn.SetReadDeadline(time.Now().Add(patience))
	if got, _ := io.ReadAll(conn); strings.Contains(string(got), "HTTP") {
		t.Errorf("to another protocol: %q", got)
	}
}
