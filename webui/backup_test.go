package webui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"crony"
	"crony/sdk"

	"github.com/google/go-cmp/cmp"
)

var errArchive = errors.New("the disk is gone")

// backing makes a rig whose backups are written by f.
func backing(t *testing.T, f func(ctx context.Context, w io.Writer, recipients []string) error) *rig {
	t.Helper()
	return newRig(t, func(o *Options) { o.Backup = f })
}

func fetch(t *testing.T, address string, recipients ...string) ([]byte, error) {
	t.Helper()
	var httpClient *http.Client
	if strings.HasPrefix(address, "https:") {
		httpClient = trusting()
	} else {
		httpClient = &http.Client{Transport: &http.Transport{}}
	}
	defer httpClient.CloseIdleConnections()
	client, err := sdk.New(sdk.Options{Address: address, Token: "admin", HTTPClient: httpClient})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	err = client.Backup(t.Context(), &b, recipients)
	return b.Bytes(), err
}

// both tells of connections with and without TLS.
func both() map[string]func(net.Listener) net.Listener {
	return map[string]func(net.Listener) net.Listener{"http": nil, "https": secured}
}

func TestBackup(t *testing.T) {
	archive := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for scheme, wrap := range both() {
		t.Run(scheme, func(t *testing.T) {
			var asked []string
			r := backing(t, func(ctx context.Context, w io.Writer, recipients []string) error {
				asked = recipients
				if _, bounded := ctx.Deadline(); bounded {
					t.Error("it has the time of a request")
				}
				w.Write(nil)
				for rest := archive; len(rest) > 0; rest = rest[min(len(rest), 100_000):] {
					if _, err := w.Write(rest[:min(len(rest), 100_000)]); err != nil {
						return err
					}
				}
				return nil
			})
			addr, _ := r.listen(t, wrap)
			got, err := fetch(t, scheme+"://"+addr, "age1a", "age1b")
			if err != nil || !bytes.Equal(got, archive) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if diff := cmp.Diff([]string{"age1a", "age1b"}, asked); diff != "" {
				t.Error(diff)
			}
			if _, err := fetch(t, scheme+"://"+addr); err != nil || asked != nil {
				t.Errorf("without recipients: %v, %v", asked, err)
			}
		})
	}
}

// TestBackupThatIsRefused: before the first byte an error is answered as any other.
func TestBackupThatIsRefused(t *testing.T) {
	var err error
	r := backing(t, func(context.Context, io.Writer, []string) error { return err })
	err = crony.Errorf(crony.Invalid, "this is no recipient").WithHint("it begins with age1")
	got := r.do(t, call{method: "GET", path: apiBase + "/backup?recipient=x", as: "admin"})
	if p := got.problem(t); got.StatusCode != 422 || p.Detail != "this is no recipient" || got.Header.Get("Content-Disposition") != "" {
		t.Errorf("%v %s", got.Header, got.body)
	}
	err = errArchive
	got = r.do(t, call{method: "GET", path: apiBase + "/backup", as: "admin"})
	if got.StatusCode != 500 || strings.Contains(string(got.body), errArchive.Error()) || !strings.Contains(r.log.String(), errArchive.Error()) {
		t.Errorf("%d %s\n%s", got.StatusCode, got.body, r.log)
	}
	r.opts.Backup = func(context.Context, io.Writer, []string) error { panic("broken") }
	if got := r.do(t, call{method: "GET", path: apiBase + "/backup", as: "admin"}); got.StatusCode != 500 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	r.opts.Backup = func(context.Context, io.Writer, []string) error { t.Error("HEAD makes a backup"); return nil }
	head := r.do(t, call{method: "HEAD", path: apiBase + "/backup", as: "admin"})
	if head.StatusCode != 200 || head.Header.Get("Content-Disposition") != `attachment; filename="crony-20270131T120000Z.backup"` {
		t.Errorf("%d %v", head.StatusCode, head.Header)
	}
}

// TestBackupThatBreaksOff: a part of an archive must not look like the whole, over either kind of connection.
func TestBackupThatBreaksOff(t *testing.T) {
	for scheme, wrap := range both() {
		for size, n := range map[string]int{"a few bytes": 10, "many": 1 << 20} {
			t.Run(scheme+" "+size, func(t *testing.T) {
				r := backing(t, func(_ context.Context, w io.Writer, _ []string) error {
					w.Write(make([]byte, n))
					return errArchive
				})
				addr, stop := r.listen(t, wrap)
				got, err := fetch(t, scheme+"://"+addr)
				if crony.CodeOf(err) != crony.Unavailable || !strings.Contains(err.Error(), "broke off") {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				stop()
				if n := strings.Count(r.log.String(), errArchive.Error()); n != 1 {
					t.Errorf("logged %d times:\n%s", n, r.log)
				}
			})
		}
	}
}

// endless writes until it can't, and tells when it is over.
func endless(over chan<- error) func(context.Context, io.Writer, []string) error {
	return func(ctx context.Context, w io.Writer, _ []string) error {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				over <- context.Cause(ctx)
				return err
			}
		}
	}
}

// begin asks for a backup and returns when it has begun.
func begin(t *testing.T, r *rig, addr string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+addr+apiBase+"/backup", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(&http.Cookie{Name: cookieName, Value: "secret-admin"})
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 {
		t.Fatalf("%s\n%s", resp.Status, r.log)
	}
	return resp
}

func ended(t *testing.T, over <-chan error) error {
	t.Helper()
	select {
	case cause := <-over:
		return cause
	case <-time.After(patience):
		t.Fatal("the backup goes on")
		return nil
	}
}

func TestBackupWithoutAClient(t *testing.T) {
	over := make(chan error, 1)
	r := backing(t, endless(over))
	addr, _ := r.listen(t, nil)
	begin(t, r, addr).Body.Close()
	if cause := ended(t, over); !isGone(cause) {
		t.Errorf("it ended by %v", cause)
	}
}

// TestBackupOfOneShutOut: a session that has ended takes its backup with it.
func TestBackupOfOneShutOut(t *testing.T) {
	over := make(chan error, 1)
	r := backing(t, endless(over))
	r.beat = 20 * time.Millisecond
	addr, _ := r.listen(t, nil)
	resp := begin(t, r, addr)
	if err := r.access.SignOut(t.Context(), "secret-admin"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("it looks complete")
	}
	if cause := ended(t, over); crony.CodeOf(cause) != crony.Unauthorized {
		t.Errorf("it ended by %v", cause)
	}
}

// TestBackupWhenStopping: neither one whose client takes nothing holds up the end, nor one that has not begun.
func TestBackupWhenStopping(t *testing.T) {
	over := make(chan error, 1)
	r := backing(t, endless(over))
	addr, stop := r.listen(t, nil)
	begin(t, r, addr)
	r.opts.Backup = func(ctx context.Context, _ io.Writer, _ []string) error {
		over <- nil
		<-ctx.Done()
		return ctx.Err()
	}
	status := make(chan error, 1)
	go func() {
		_, err := fetch(t, "http://"+addr)
		status <- err
	}()
	<-over
	r.grace = time.Second // the connection of the first is full, and only closing it ends that
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("stopping took %s", took)
	}
	if cause := ended(t, over); crony.CodeOf(cause) != crony.Unavailable {
		t.Errorf("it ended by %v", cause)
	}
	if err := <-status; crony.CodeOf(err) != crony.Unavailable || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("the one that had not begun: %v", err)
	}
}
