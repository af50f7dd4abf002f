package callback

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"crony"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2027, 1, 1, 12, 0, 0, 5, time.UTC)

func facts() *crony.CallFacts {
	return &crony.CallFacts{RunID: "01JFAKE0000000000000000000", Job: "job", ScheduledAt: "2027-01-01T12:00:00Z", Attempt: 2, Epoch: 7,
		Params: map[string]string{"day": "mon"}}
}

func someAsync() *Async {
	return &Async{Token: "tttttttttttttttttttttttttttttttttttttttttt1", Servers: []string{"https://s1:8470", "https://s2:8470"},
		Deadline: noon.Add(90 * time.Second), Timeout: 90 * time.Second}
}

// rig is a caller, which ends with the test.
type rig struct {
	*testing.T
	caller         *Caller
	ctx            func() context.Context
	stdout, stderr bytes.Buffer // of the last call
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, caller: NewCaller(Options{}), ctx: t.Context}
	t.Cleanup(r.caller.Close)
	return r
}

// call makes a call. Async is given to those that are.
func (r *rig) call(job crony.Job) Outcome {
	r.Helper()
	job.Name = "job"
	var async *Async
	if job.Async() {
		async = someAsync()
	}
	what, err := New(&job, facts(), async)
	if err != nil {
		r.Fatal(err)
	}
	r.stdout.Reset()
	r.stderr.Reset()
	out := r.caller.Do(r.ctx(), what, &r.stdout, &r.stderr)
	if all := r.stdout.String() + r.stderr.String() + out.Failure + out.Status; async != nil && strings.Contains(all, async.Token) {
		r.Errorf("the token is said: %s", all)
	}
	return out
}

func (r *rig) get(url string, change ...func(*crony.HTTP)) Outcome {
	r.Helper()
	h := &crony.HTTP{URL: url}
	for _, c := range change {
		c(h)
	}
	return r.call(crony.Job{HTTP: h})
}

func (r *rig) expect(got Outcome, status, failure string) {
	r.Helper()
	if got.Status != status || got.Accepted || failure == "" && got.Failure != "" || !strings.Contains(got.Failure, failure) {
		r.Errorf("%+v, want %q, %q", got, status, failure)
	}
}

// serve starts a server. It is closed with the test.
func serve(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

func TestHTTP(t *testing.T) {
	r := newRig(t)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	var got http.Header
	s := serve(t, func(w http.ResponseWriter, req *http.Request) {
		got = req.Header
		body, _ := io.ReadAll(req.Body)
		if req.URL.Path == "/bad" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "%s %s %s %q", req.Method, req.URL, req.Host, body)
	})
	r.expect(r.get(s.URL+"/a?d={{.Params.day}}"), "HTTP 200", "")
	host := strings.TrimPrefix(s.URL, "http://")
	if want := "GET /a?d=mon " + host + ` ""`; r.stdout.String() != want {
		t.Errorf("%s, want %s", r.stdout.String(), want)
	}
	if text := r.stderr.String(); !strings.HasPrefix(text, "GET "+host+": HTTP 200; connect ") || !strings.Contains(text, ", first byte ") || !strings.Contains(text, ", whole ") {
		t.Errorf("stderr: %s", text)
	}
	for name, want := range map[string]string{"Crony-Job": "job", "Crony-Run-Id": "01JFAKE0000000000000000000", "Crony-Scheduled-At": "2027-01-01T12:00:00Z",
		"Crony-Attempt": "2", "Crony-Epoch": "7", "User-Agent": "crony", "Crony-Token": "", "Crony-Servers": "", "Accept-Encoding": ""} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	r.expect(r.get(s.URL, func(h *crony.HTTP) {
		h.Body, h.Headers = "run {{.RunID}}", map[string]string{"host": "other", "X-Day": "{{.Params.day}}", "User-Agent": "mine"}
	}), "HTTP 200", "")
	if want := `POST / other "run 01JFAKE0000000000000000000"`; r.stdout.String() != want || got.Get("X-Day") != "mon" || got.Get("User-Agent") != "mine" {
		t.Errorf("%s and %v, want %s", r.stdout.String(), got, want)
	}
	if !strings.Contains(r.stderr.String(), "connection reused") {
		t.Errorf("the second call: %s", r.stderr.String())
	}
	r.expect(r.get(s.URL+"/bad"), "HTTP 503", "HTTP 503 Service Unavailable")
	r.expect(r.get(s.URL+"/bad", func(h *crony.HTTP) { h.Expect = &crony.HTTPExpect{Status: []string{"500-504"}} }), "HTTP 503", "")
	r.expect(r.get(s.URL, func(h *crony.HTTP) { h.Expect = &crony.HTTPExpect{Status: []string{"204"}} }), "HTTP 200", "HTTP 200 OK")
	r.expect(r.get(s.URL, func(h *crony.HTTP) { h.Expect = &crony.HTTPExpect{Body: "^GET / "} }), "HTTP 200", "")
	r.expect(r.get(s.URL, func(h *crony.HTTP) { h.Expect = &crony.HTTPExpect{Body: "^POST"} }), "HTTP 200", `its body does not match "^POST"`)
}

func TestRefusedBeforeTheCall(t *testing.T) {
	for url, want := range map[string]string{"http://h/{{.Params.none}}": `no entry for key "none"`, "{{.Params.day}}": "is not the URL",
		"http://h:{{.Params.day}}/": "is not the URL", "http://{{.Params.day}}@h/": "is not the URL"} {
		if _, err := New(&crony.Job{HTTP: &crony.HTTP{URL: url}}, facts(), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
	}
	f := facts()
	f.Params["day"] = "a\nCrony-Token: b"
	_, err := New(&crony.Job{HTTP: &crony.HTTP{URL: "http://h", Headers: map[string]string{"X-Day": "{{.Params.day}}"}}}, f, nil)
	if err == nil || !strings.Contains(err.Error(), "the header X-Day would hold a line break") {
		t.Errorf("%v", err)
	}
}

func TestAsync(t *testing.T) {
	r := newRig(t)
	status := http.StatusAccepted
	var got http.Header
	over := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, req *http.Request) {
		got = req.Header
		w.WriteHeader(status)
		req.Header.Write(w) // as a service does that shows what it was asked
		w.(http.Flusher).Flush()
		if req.URL.Path == "/slow" {
			<-over
		}
	})
	defer close(over)
	async := func(h *crony.HTTP) { h.Async = true }
	if out := r.get(s.URL, async); !out.Accepted || out.Failure != "" || out.Status != "HTTP 202" {
		t.Errorf("%+v", out)
	}
	if told := r.stderr.String(); !strings.Contains(told, "Crony-Token: …\r\n") || !strings.Contains(told, "Crony-Timeout: 90\r\n") ||
		r.stdout.Len() > 0 {
		t.Errorf("output: %s\n%s", r.stdout.String(), told)
	}
	for name, want := range map[string]string{"Crony-Token": someAsync().Token, "Crony-Servers": "https://s1:8470,https://s2:8470",
		"Crony-Deadline": "2027-01-01T12:01:30Z", "Crony-Timeout": "90"} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	began := time.Now()
	if out := r.get(s.URL+"/slow", async); !out.Accepted || time.Since(began) > 3*acceptTime {
		t.Errorf("a body that has no end: %+v after %s", out, time.Since(began))
	}
	r.expect(r.get(s.URL), "HTTP 202", "")
	status = http.StatusOK
	r.expect(r.get(s.URL, async), "HTTP 200", "")
	status = http.StatusConflict
	r.expect(r.get(s.URL, async), "HTTP 409", "HTTP 409 Conflict")
}

func TestTokens(t *testing.T) {
	token, hash := NewToken()
	other, _ := NewToken()
	if len(token) != 43 || token == other || len(hash) != 64 || HashToken(token) != hash || strings.Contains(token, hash) {
		t.Errorf("%s %s %s", token, other, hash)
	}
}

// TestVeil cuts what holds a token at each place.
func TestVeil(t *testing.T) {
	const token = "aabaac"
	for _, text := range []string{token, "x" + token + "y", "aaba" + token, token + token, "aabaa", "aabaab" + token, ""} {
		for cut := range len(text) + 1 {
			var out bytes.Buffer
			v := (&Call{told: map[string]string{tokenHeader: token}}).veil(&out)
			for _, part := range []string{text[:cut], text[cut:]} {
				if n, err := v.Write([]byte(part)); n != len(part) || err != nil {
					t.Fatal(n, err)
				}
			}
			v.flush()
			if want := strings.ReplaceAll(text, token, veiled); out.String() != want {
				t.Errorf("%q at %d: %q, want %q", text, cut, out.String(), want)
			}
		}
	}
}

// raw serves connections by hand, one at a time.
func raw(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		work.Wait()
	})
	return "http://" + l.Addr().String()
}

// heard reads a request's header.
func heard(conn net.Conn) {
	buf, text := make([]byte, 1), ""
	for !strings.HasSuffix(text, "\r\n\r\n") {
		if _, err := conn.Read(buf); err != nil {
			return
		}
		text += string(buf)
	}
}

func TestPeersThatMisbehave(t *testing.T) {
	t.Run("nobody is there", func(t *testing.T) {
		r := newRig(t)
		s := httptest.NewServer(nil)
		s.Close()
		r.expect(r.get(s.URL+"/?key=secret"), "", "connection refused")
		if strings.Contains(r.stderr.String(), "secret") || !strings.Contains(r.stderr.String(), "connection refused") {
			t.Errorf("stderr: %s", r.stderr.String())
		}
	})
	t.Run("no such host", func(t *testing.T) {
		r := newRig(t)
		out := r.get("http://no-such-host.invalid/")
		if out.Failure == "" || out.Status != "" {
			t.Errorf("%+v", out)
		}
	})
	t.Run("it resets", func(t *testing.T) {
		r := newRig(t)
		at := raw(t, func(conn net.Conn) {
			heard(conn)
			conn.(*net.TCPConn).SetLinger(0)
		})
		r.expect(r.get(at, func(h *crony.HTTP) { h.Body = "x" }), "", "reset by peer")
	})
	t.Run("it hangs up", func(t *testing.T) {
		r := newRig(t)
		r.expect(r.get(raw(t, heard)), "", "closed before the answer was whole")
	})
	t.Run("it breaks off", func(t *testing.T) {
		r := newRig(t)
		at := raw(t, func(conn net.Conn) {
			heard(conn)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
		})
		r.expect(r.get(at), "HTTP 200", "broke off after 4 bytes: the connection was closed")
		if r.stdout.String() != "some" {
			t.Errorf("%q", r.stdout.String())
		}
	})
	t.Run("it is no HTTP", func(t *testing.T) {
		r := newRig(t)
		at := raw(t, func(conn net.Conn) { io.WriteString(conn, "SSH-2.0-x\r\n") })
		out := r.get(at, func(h *crony.HTTP) { h.Body = "x" }) // which of the two is up to who is first
		if !strings.Contains(out.Failure, "malformed HTTP") && !strings.Contains(out.Failure, "is it HTTP?") || out.Status != "" {
			t.Errorf("%+v", out)
		}
		r.expect(r.get("https"+strings.TrimPrefix(at, "http")), "", "it does not speak TLS")
	})
	t.Run("its header has no end", func(t *testing.T) {
		r := newRig(t)
		at := raw(t, func(conn net.Conn) {
			heard(conn)
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(conn, "X: "+strings.Repeat("x", 1000)+"\r\n"); err != nil {
					return
				}
			}
		})
		r.expect(r.get(at), "", "server response headers exceeded 65536 bytes")
	})
	t.Run("its body has no end", func(t *testing.T) {
		r := newRig(t)
		const limit = 3 << 20
		var sent atomic.Int64
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			n, _ := io.CopyN(w, endless{}, 10<<30)
			sent.Store(n)
		})
		h := &crony.HTTP{URL: s.URL, Expect: &crony.HTTPExpect{Body: "z"}}
		job := &crony.Job{HTTP: h}
		what, err := New(job, facts(), nil)
		if err != nil {
			t.Fatal(err)
		}
		what.limit = limit
		counted := counter(0)
		out := r.caller.Do(r.ctx(), what, &counted, &r.stderr)
		r.expect(out, "HTTP 200", "does not match")
		s.Close()
		if counted != limit || sent.Load() > 1<<30 || !strings.Contains(r.stderr.String(), "the answer is longer than 3MiB, and was read no further") {
			t.Errorf("%d of %d bytes were read; %s", counted, sent.Load(), r.stderr.String())
		}
	})
	t.Run("it is slow", func(t *testing.T) {
		for _, part := range []string{"", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"} {
			r := newRig(t)
			over := make(chan struct{})
			at := raw(t, func(conn net.Conn) {
				heard(conn)
				io.WriteString(conn, part)
				<-over
			})
			ctx, cancel := context.WithCancelCause(t.Context())
			r.ctx = func() context.Context { return ctx }
			time.AfterFunc(200*time.Millisecond, func() { cancel(errors.New("the test has seen enough")) })
			out := r.get(at)
			if out.Failure == "" || out.Accepted {
				t.Errorf("%q: %+v", part, out)
			}
			close(over)
		}
	})
}

// endless is a text of x without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func TestRedirects(t *testing.T) {
	r := newRig(t)
	var got []*http.Request
	other := serve(t, func(w http.ResponseWriter, req *http.Request) {
		got = append(got, req)
		if back := req.URL.Query().Get("to"); back != "" {
			http.Redirect(w, req, back, http.StatusTemporaryRedirect)
		}
	})
	s := serve(t, func(w http.ResponseWriter, req *http.Request) {
		got = append(got, req)
		switch to := req.URL.Query().Get("to"); {
		case req.URL.Path == "/forever":
			http.Redirect(w, req, "/forever", http.StatusFound)
		case to != "":
			http.Redirect(w, req, to, http.StatusTemporaryRedirect)
		}
	})
	secret := func(h *crony.HTTP) {
		h.Headers = map[string]string{"Authorization": "Bearer x", "X-Api-Key": "k", "Cookie": "c=1", "Accept": "text/plain", "Host": "alias"}
	}
	r.expect(r.get(s.URL+"/forever"), "", "it redirects more than 10 times")
	if len(got) != maxRedirects+1 {
		t.Errorf("%d requests", len(got))
	}
	got = nil
	r.expect(r.get(s.URL+"/?to=/there", secret), "HTTP 200", "")
	if h := got[1].Header; h.Get("Authorization") == "" || h.Get("X-Api-Key") == "" || h.Get("Referer") != "" {
		t.Errorf("on the same host: %v", h)
	}
	got = nil
	r.expect(r.get(s.URL+"/?to="+other.URL+"/%3Fto="+s.URL+"/back", secret), "HTTP 200", "")
	if len(got) != 3 {
		t.Fatalf("%d requests", len(got))
	}
	for _, req := range got[1:] { // the second host chose where the third request goes
		h := req.Header
		if h.Get("Authorization")+h.Get("X-Api-Key")+h.Get("Cookie")+h.Get("Referer") != "" || req.Host == "alias" ||
			h.Get("Accept") != "text/plain" || h.Get("Crony-Job") != "job" {
			t.Errorf("to %s: %v", req.Host, h)
		}
	}
	if !strings.Contains(r.stderr.String(), " redirects to "+strings.TrimPrefix(other.URL, "http://")) {
		t.Errorf("stderr: %s", r.stderr.String())
	}
	async := func(h *crony.HTTP) { h.Async = true }
	r.expect(r.get(s.URL+"/?to=/there", async), "HTTP 200", "")
	r.expect(r.get(s.URL+"/?to="+other.URL, async), "", "the call's token is for 127.0.0.1")
	r.expect(r.get(s.URL+"/?to=file:///etc/passwd"), "", "redirects from http to file, which is not followed")
}

func TestLinkLocal(t *testing.T) {
	r := newRig(t)
	for _, url := range []string{"http://169.254.169.254/latest", "http://[fe80::1%25lo]/", "http://[::ffff:169.254.169.254]/",
		"http://[fe80::1%25lo]:80/", "http://2852039166/"} {
		out := r.get(url)
		if url == "http://2852039166/" { // what a resolver makes of a number is its own affair
			if out.Failure == "" {
				t.Errorf("%s: %+v", url, out)
			}
			continue
		}
		r.expect(out, "", errLinkLocal.Error())
	}
	s := serve(t, func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, "http://169.254.169.254/latest/meta-data", http.StatusFound)
	})
	r.expect(r.get(s.URL), "", errLinkLocal.Error())

	// As a name that leads there: what is dialled is looked at, and not what was asked for.
	if err := refuseLinkLocal("tcp4", "169.254.1.1:80", nil); !errors.Is(err, errLinkLocal) {
		t.Errorf("%v", err)
	}
	dial := r.caller.dialer()
	dial.Resolver = nameServer(t, [4]byte{169, 254, 169, 254})
	if _, err := dial.DialContext(t.Context(), "tcp", "metadata.example.:80"); !errors.Is(err, errLinkLocal) {
		t.Errorf("by DNS: %v", err)
	}
	if _, err := dial.Resolver.LookupHost(t.Context(), "metadata.example."); err != nil {
		t.Errorf("the name server of this test says nothing: %v", err)
	}
	if free := NewCaller(Options{AllowLinkLocal: true}).dialer(); free.Control != nil {
		t.Error("link-local addresses are looked at, though they are allowed")
	}
}

// TestHTTPS has a server be trusted, be asked for its name, and be reached by HTTP/2; and none go from https to http.
func TestHTTPS(t *testing.T) {
	r := newRig(t)
	plain := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a call went from https to http") })
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/down" {
			http.Redirect(w, req, plain.URL, http.StatusFound)
		}
		fmt.Fprint(w, req.Proto)
	}))
	s.EnableHTTP2, s.TLS = true, &tls.Config{MinVersion: tls.VersionTLS12}
	s.StartTLS()
	defer s.Close()
	ca := file(t, "ca.pem", pemOf(s.Certificate().Raw))
	own := func(h *crony.HTTP) { h.TLS = &crony.TLS{CAFile: ca, ServerName: "example.com"} }
	r.expect(r.get(s.URL), "", "certificate")
	r.expect(r.get(s.URL, own), "HTTP 200", "")
	if r.stdout.String() != "HTTP/2.0" || !strings.Contains(r.stderr.String(), "tls ") {
		t.Errorf("%s, %s", r.stdout.String(), r.stderr.String())
	}
	r.expect(r.get(s.URL+"/down", own), "", "it redirects from https to http, which is not followed")
	r.expect(r.get(s.URL, func(h *crony.HTTP) { h.TLS = &crony.TLS{CAFile: ca, ServerName: "other.example"} }), "", "other.example")
	r.expect(r.get(s.URL, func(h *crony.HTTP) { h.TLS = &crony.TLS{CAFile: "/no/such"} }), "", "read whom to trust: stat /no/such: no such file")
	r.expect(r.get(s.URL, func(h *crony.HTTP) { h.TLS = &crony.TLS{CAFile: "/dev/zero"} }), "", "/dev/zero is no file")
	r.expect(r.get(s.URL, func(h *crony.HTTP) { h.TLS = &crony.TLS{CAFile: file(t, "x", "x")} }), "", "there is no certificate in")
	r.expect(r.get(s.URL, func(h *crony.HTTP) { h.TLS = &crony.TLS{CertFile: ca, KeyFile: ca} }), "", "read the client's certificate from")
}
