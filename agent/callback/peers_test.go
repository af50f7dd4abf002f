package callback

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"crony"
)

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// nameServer returns a resolver that says of each name that it is at an address.
func nameServer(t *testing.T, ip [4]byte) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12 // the question: a name of labels, then its type and class; see RFC 1035, 4.1
			for end < n && buf[end] != 0 {
				end += 1 + int(buf[end])
			}
			if end += 5; end > n {
				continue
			}
			answer := append([]byte{buf[0], buf[1], 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0}, buf[12:end]...)
			if buf[end-3] == 1 { // an A record is asked for
				answer[7] = 1
				answer = append(append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4), ip[:]...)
			}
			conn.WriteTo(answer, from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue returns a certificate and its key, in PEM.
func (a *authority) issue(name string) (cert, key string) {
	a.t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, own.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		a.t.Fatal(err)
	}
	return pemOf(der), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}))
}

// freePort returns a port that was free just now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// program starts a program of this host that listens on a port; the test is skipped where there is none.
func program(t *testing.T, port, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CRONY_REQUIRE_ALL") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &said, &said, &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", name, &said)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v", name, err)
		}
	}
}

func TestPython(t *testing.T) {
	t.Parallel()
	r, port, dir := newRig(t), freePort(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.txt"), []byte("from python\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	program(t, port, "python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", dir, port)
	r.expect(r.get("http://localhost:"+port+"/a.txt"), "HTTP 200", "")
	if r.stdout.String() != "from python\n" {
		t.Errorf("%q", r.stdout.String())
	}
	r.expect(r.get("http://127.0.0.1:"+port+"/none"), "HTTP 404", "HTTP 404 Not Found")
	r.expect(r.get("http://127.0.0.1:"+port+"/a.txt", func(h *crony.HTTP) { h.Method = "DELETE" }), "HTTP 501", "HTTP 501")
}

// TestNginx asks for a client's certificate, as services do that let only some in. It is renewed from one call to the next.
func TestNginx(t *testing.T) {
	t.Parallel()
	r, port, dir, ca := newRig(t), freePort(t), t.TempDir(), newAuthority(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key := ca.issue("orders.internal")
	write("server.pem", cert)
	write("server.key", key)
	write("ca.pem", pemOf(ca.cert.Raw))
	me, mine := ca.issue("agent-1")
	clientCert, clientKey := write("me.pem", me), write("me.key", mine)
	write("nginx.conf", fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr; events {}
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
server { listen 127.0.0.1:%[2]s ssl http2; server_name orders.internal; ssl_certificate server.pem; ssl_certificate_key server.key;
ssl_client_certificate ca.pem; ssl_verify_client on; return 200 "$ssl_client_s_dn $server_protocol $http_crony_job\n"; } }
`, dir, port))
	program(t, port, "nginx", "-e", "stderr", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"))
	url := "https://127.0.0.1:" + port
	with := func(h *crony.HTTP) {
		h.TLS = &crony.TLS{CAFile: filepath.Join(dir, "ca.pem"), CertFile: clientCert, KeyFile: clientKey, ServerName: "orders.internal"}
	}
	r.expect(r.get(url, with), "HTTP 200", "")
	if r.stdout.String() != "CN=agent-1 HTTP/2.0 job\n" {
		t.Errorf("%q", r.stdout.String())
	}
	r.expect(r.get(url, with), "HTTP 200", "")
	if !strings.Contains(r.stderr.String(), "connection reused") {
		t.Errorf("the second call: %s", r.stderr.String())
	}
	renewed, its := ca.issue("agent-2")
	write("me.pem", renewed)
	write("me.key", its)
	r.expect(r.get(url, with), "HTTP 200", "")
	if r.stdout.String() != "CN=agent-2 HTTP/2.0 job\n" {
		t.Errorf("with a certificate that was renewed: %q", r.stdout.String())
	}
	r.expect(r.get(url, func(h *crony.HTTP) {
		with(h)
		h.TLS.CertFile, h.TLS.KeyFile = "", ""
	}), "HTTP 400", "HTTP 400 Bad Request")
	r.expect(r.get(url, func(h *crony.HTTP) {
		with(h)
		h.TLS.CAFile = ""
	}), "", "certificate")
}
