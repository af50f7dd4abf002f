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
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"crony"
)

const (
	maxRedirects = 10
	maxHeader    = 64 << 10 // bytes of an answer's header
	maxMatched   = 1 << 20  // bytes of an answer's body in which its pattern is looked for
	idleTime     = 90 * time.Second
	pingTime     = 15 * time.Second // of silence on an HTTP/2 connection, before it is asked whether it is there
	acceptTime   = 5 * time.Second  // for what whom has accepted a call still says
)

// transport returns what calls of these TLS options go over.
func (c *Caller) transport(own *crony.TLS) (*pooled[*http.Transport], error) {
	creds, err := readTLS(own)
	if err != nil {
		return nil, err
	}
	fresh := func() (*http.Transport, func(), error) {
		t := &http.Transport{DialContext: c.dialer().DialContext, TLSClientConfig: creds.config, TLSHandshakeTimeout: dialTime,
			ForceAttemptHTTP2: true, HTTP2: &http.HTTP2Config{SendPingTimeout: pingTime}, DisableCompression: true,
			MaxIdleConns: 256, MaxIdleConnsPerHost: 8, IdleConnTimeout: idleTime, MaxResponseHeaderBytes: maxHeader}
		return t, t.CloseIdleConnections, nil
	}
	return c.https.take(creds.sum, func(*http.Transport) bool { return true }, fresh)
}

func (c *Caller) callHTTP(ctx context.Context, call *Call, stdout, stderr io.Writer) Outcome {
	t, err := c.transport(call.http.TLS)
	if err != nil {
		return Outcome{Failure: err.Error()}
	}
	defer c.https.give(t)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	times := newTimes()
	req, err := call.request(times.follow(ctx), call.http)
	if err != nil {
		return Outcome{Failure: err.Error()}
	}
	client := &http.Client{Transport: t.thing, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		return call.redirect(next, via, stderr)
	}}
	resp, err := client.Do(req)
	if err != nil {
		why := call.quiet(why(err))
		fmt.Fprintf(stderr, "%s %s: %s; %s\n", req.Method, req.URL.Host, why, times)
		return Outcome{Failure: fmt.Sprintf("%s %s: %s", req.Method, req.URL.Host, why)}
	}
	defer resp.Body.Close()
	if call.accepted(resp) {
		stdout = stderr // from here on stdout is what the callee logs
	}
	veiled := call.veil(stdout)
	out := call.answered(cancel, resp, veiled, stderr)
	veiled.flush()
	fmt.Fprintf(stderr, "%s %s: %s; %s\n", req.Method, resp.Request.URL.Host, out.Status, times)
	return out
}

func (call *Call) accepted(resp *http.Response) bool {
	return call.async && resp.StatusCode == http.StatusAccepted
}

// answered takes in an answer, and judges it.
func (call *Call) answered(cancel context.CancelFunc, resp *http.Response, stdout, stderr io.Writer) Outcome {
	out := Outcome{Status: "HTTP " + strconv.Itoa(resp.StatusCode)}
	out.Accepted = call.accepted(resp)
	if out.Accepted { // it is not to wait for a body that has no end
		stop := time.AfterFunc(acceptTime, cancel)
		defer stop.Stop()
	}
	var head bytes.Buffer
	expect := call.http.Expect
	if expect != nil && expect.Body != "" {
		stdout = io.MultiWriter(stdout, &headWriter{&head})
	}
	n, err := io.Copy(stdout, io.LimitReader(resp.Body, call.limit))
	if n == call.limit && err == nil {
		if more, _ := io.ReadFull(resp.Body, make([]byte, 1)); more > 0 {
			fmt.Fprintf(stderr, "the answer is longer than %s, and was read no further\n", crony.Size(call.limit))
		}
	}
	switch {
	case out.Accepted:
	case err != nil:
		out.Failure = fmt.Sprintf("%s, and the answer broke off after %d bytes: %s", out.Status, n, call.quiet(why(err)))
	case !expect.Takes(resp.StatusCode):
		out.Failure = strings.TrimSpace(out.Status + " " + http.StatusText(resp.StatusCode))
	case expect != nil && expect.Body != "":
		if found, err := regexp.Match(expect.Body, head.Bytes()); err != nil || !found {
			out.Failure = fmt.Sprintf("%s, and its body does not match %.200q", out.Status, expect.Body)
		}
	}
	return out
}

// headWriter keeps the first of what is written.
type headWriter struct{ kept *bytes.Buffer }

// Write implements [io.Writer].
func (w *headWriter) Write(p []byte) (int, error) {
	w.kept.Write(p[:min(len(p), maxMatched-w.kept.Len())])
	return len(p), nil
}

// harmless are the headers of a job that hold no credential, whatever their value: they go wherever a call is redirected.
func harmless(name string) bool {
	return slices.Contains([]string{"Accept", "Accept-Language", "Content-Type", "User-Agent"}, name)
}

// redirect says whether a redirect is followed. To another origin than the job's own, and from there on, only what tells of the
// run goes along, and what holds no credential; its token goes nowhere else, and without it nobody can answer.
func (call *Call) redirect(next *http.Request, via []*http.Request, stderr io.Writer) error {
	last := via[len(via)-1]
	fmt.Fprintf(stderr, "%s redirects to %s\n", last.URL.Host, next.URL.Host)
	next.Header.Del("Referer") // what a URL holds is for its own host
	next.URL.User = nil
	elsewhere := slices.ContainsFunc(append(slices.Clone(via), next), func(r *http.Request) bool {
		return !sameOrigin(r.URL, via[0].URL)
	})
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	case next.URL.Scheme != "https" && (last.URL.Scheme == "https" || next.URL.Scheme != "http"):
		return fmt.Errorf("it redirects from %s to %s, which is not followed", last.URL.Scheme, next.URL.Scheme)
	case elsewhere && call.async:
		return fmt.Errorf("it redirects to %s, and the call's token is for %s alone", next.URL.Host, via[0].URL.Host)
	case !elsewhere:
		return nil
	}
	next.Host = ""
	for name := range next.Header {
		if _, told := call.told[textproto.CanonicalMIMEHeaderKey(name)]; !told && !harmless(name) {
			next.Header.Del(name)
		}
	}
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}

// why returns why a call failed, without the URL: it may hold what is for its host alone.
func why(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	var record tls.RecordHeaderError
	switch e, dns := errors.AsType[*net.DNSError](err); {
	case dns && e.IsNotFound:
		return "there is no host " + e.Name
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before the answer was whole"
	case errors.Is(err, net.ErrClosed), strings.HasPrefix(err.Error(), "readLoopPeekFail"): // the transport has no better words
		return "the other side spoke before it was asked: is it HTTP?"
	case errors.As(err, &record):
		return "it does not speak TLS"
	}
	return err.Error()
}
