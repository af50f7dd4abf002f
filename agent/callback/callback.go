// Package callback makes the calls of jobs that have a service do their work: over HTTP, or by gRPC.
//
// The one thing to know: a call is made once. What it is to say is known before it begins ([New]), what came of it is its
// [Outcome], and what it was answered goes to a writer as it comes. Nothing here knows of journals, agents or servers, and
// nothing of a call is kept but connections, for the next one.
//
// Whoever may define a job chooses what its agent's host connects to. So a call goes by no proxy that the host's environment
// names, reaches no link-local address, where clouds tell a host its credentials, and carries what may be a credential to no
// other host than the one that the job names.
package callback

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"crony"
)

// Call is what one attempt of a job is to call.
type Call struct {
	http  *crony.HTTP // with the run's facts in it
	grpc  *crony.GRPC
	told  map[string]string // that the callee is told of the run, by header
	async bool
	limit int64 // bytes of the answer that are read
}

// Async is what a callee is to know that will answer later.
type Async struct {
	Token    string        // by which it may; see [NewToken]
	Servers  []string      // base URLs that take the answer
	Deadline time.Time     // after which it is not waited for
	Timeout  time.Duration // from the attempt's start to then
}

// NewToken makes a token, and returns what may be written down of it: its SHA-256, in hex.
func NewToken() (token, hash string) {
	var random [32]byte
	rand.Read(random[:])
	token = base64.RawURLEncoding.EncodeToString(random[:])
	return token, HashToken(token)
}

// HashToken returns what a token is known by.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// New makes the call of a job's attempt. Async is nil if the job is not. The error says in plain words why there can be none.
func New(job *crony.Job, facts *crony.CallFacts, async *Async) (*Call, error) {
	c := &Call{async: async != nil, limit: job.OutputLimit(), told: map[string]string{
		"Crony-Job": facts.Job, "Crony-Run-Id": string(facts.RunID), "Crony-Scheduled-At": facts.ScheduledAt,
		"Crony-Attempt": strconv.Itoa(facts.Attempt), "Crony-Epoch": strconv.FormatInt(facts.Epoch, 10)}}
	if async != nil {
		c.told[tokenHeader] = async.Token
		c.told["Crony-Servers"] = strings.Join(async.Servers, ",")
		c.told["Crony-Deadline"] = async.Deadline.UTC().Format(time.RFC3339)
		c.told["Crony-Timeout"] = strconv.FormatInt(int64(async.Timeout/time.Second), 10)
	}
	if job.GRPC != nil {
		c.grpc = job.GRPC
		return c, nil
	}
	filled, err := job.HTTP.Fill(facts)
	if err != nil {
		return nil, err
	}
	if _, err := c.request(context.Background(), &filled); err != nil {
		return nil, err
	}
	c.http = &filled
	return c, nil
}

const tokenHeader = "Crony-Token"

// request makes the request of a call.
func (call *Call) request(ctx context.Context, h *crony.HTTP) (*http.Request, error) {
	method := h.Method
	switch {
	case method != "":
	case h.Body != "":
		method = http.MethodPost
	default:
		method = http.MethodGet
	}
	u, err := url.Parse(h.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%.200q is not the URL of a call by HTTP", h.URL)
	}
	var body io.Reader
	if h.Body != "" {
		body = strings.NewReader(h.Body)
	}
	req, err := http.NewRequestWithContext(ctx, method, h.URL, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	req.Header.Set("User-Agent", "crony")
	for name, value := range h.Headers {
		if strings.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("the header %s would hold a line break", name)
		}
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	for name, value := range call.told {
		req.Header.Set(name, value)
	}
	return req, nil
}

// Host returns whom the call is made to.
func (call *Call) Host() string {
	if call.grpc != nil {
		return strings.TrimPrefix(call.grpc.Target, "dns:///")
	}
	u, err := url.Parse(call.http.URL)
	if err != nil {
		return "" // it was parsed before
	}
	return u.Host
}

// Outcome is what came of a call.
type Outcome struct {
	Status   string // that it was answered with: "HTTP 503", "UNAVAILABLE"; "" if it was not
	Accepted bool   // how it ends is told later
	Failure  string // why it is none, in plain words; "" of a success, and of a call that was accepted
}

// Options is what a Caller is made of.
type Options struct {
	AllowLinkLocal bool // calls may reach 169.254.0.0/16 and fe80::/10
}

// Caller makes calls, and keeps connections from one to the next.
type Caller struct {
	opts  Options
	https *pool[*http.Transport]
	grpcs *pool[*channel]
}

// kept is how many sets of connections are kept, of each protocol, that no call uses.
const kept = 64

// NewCaller returns a caller without connections.
func NewCaller(opts Options) *Caller {
	return &Caller{opts: opts, https: newPool[*http.Transport](kept), grpcs: newPool[*channel](kept)}
}

// Close gives up connections that no call uses.
func (c *Caller) Close() {
	c.https.close()
	c.grpcs.close()
}

// Do makes the call. What it is answered goes to stdout, and how it went, for people, to stderr. It ends when ctx is done.
func (c *Caller) Do(ctx context.Context, call *Call, stdout, stderr io.Writer) Outcome {
	if call.grpc != nil {
		return c.callGRPC(ctx, call, stdout, stderr)
	}
	return c.callHTTP(ctx, call, stdout, stderr)
}
