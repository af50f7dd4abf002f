package sdk

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"crony"
)

const (
	maxAnswer  = 64 << 20 // bytes of an answer
	maxProblem = 1 << 20  // bytes of a refusal
)

// errTimeout is the cause that the client's own timeout gives a context, to tell it from a caller's deadline.
var errTimeout = errors.New("no answer in time")

// call is one request.
type call struct {
	method string
	path   string // below /api/v1, escaped
	query  url.Values
	header http.Header
	accept string

	body     []byte
	bodyType string // "" if there is no body
}

// do makes a call and decodes its answer into v; nil if no answer is expected.
func (c *Client) do(ctx context.Context, k call, v any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout)
	defer cancel()
	k.accept = "application/json"
	resp, err := c.send(ctx, k)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if v == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return c.broken(ctx, err)
	case len(body) > maxAnswer:
		return crony.Errorf(crony.Unavailable, "the answer to %s %s has more than %d bytes", k.method, k.path, maxAnswer).
			WithHint("ask for fewer at once")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return c.stranger(ctx, fmt.Sprintf("an answer that is not readable: %v", err))
	}
	return nil
}

// send makes a call and returns its answer, whose body the caller closes; a refusal is an error.
func (c *Client) send(ctx context.Context, k call) (*http.Response, error) {
	address := c.base + "/api/v1" + k.path
	if len(k.query) > 0 {
		address += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, address, bytes.NewReader(k.body))
	if err != nil {
		return nil, fmt.Errorf("make the request %s %s: %w", k.method, k.path, err)
	}
	if k.header != nil {
		req.Header = k.header
	}
	req.Header.Set("Accept", k.accept)
	req.Header.Set("User-Agent", c.userAgent)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if k.bodyType != "" {
		req.Header.Set("Content-Type", k.bodyType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreached(ctx, err)
	}
	if err := c.refusal(ctx, resp, k.accept); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// refusal returns the error that an answer is; nil for one that holds what was asked for.
func (c *Client) refusal(ctx context.Context, resp *http.Response, accept string) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case kind == "application/problem+json":
		return c.problem(ctx, resp)
	case resp.StatusCode == http.StatusNoContent:
		return nil
	case resp.StatusCode/100 == 2 && kind == accept:
		return nil
	case resp.Header.Get("Location") != "":
		return c.stranger(ctx, fmt.Sprintf("%s and a redirect to %.200q", resp.Status, resp.Header.Get("Location")))
	case kind == "":
		return c.stranger(ctx, resp.Status)
	}
	return c.stranger(ctx, fmt.Sprintf("%s and a document of type %s", resp.Status, kind))
}

// problem is a refusal as the server words it (RFC 9457).
type problem struct {
	Status int           `json:"status"`
	Code   crony.Code    `json:"code"`
	Detail string        `json:"detail"`
	Hint   string        `json:"hint"`
	Faults []crony.Fault `json:"faults"`
}

func (c *Client) problem(ctx context.Context, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem+1))
	if err != nil {
		return c.broken(ctx, err)
	}
	var p problem
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" || p.Detail == "" {
		return c.stranger(ctx, resp.Status+" and a problem that is not crony's")
	}
	return p.err()
}

func (p *problem) err() *crony.Error {
	return &crony.Error{Code: p.Code, Message: p.Detail, Hint: p.Hint, Faults: p.Faults}
}

// stranger is the error of an answer that crony would not give, unless the call has been given up.
func (c *Client) stranger(ctx context.Context, answer string) error {
	if ended := c.ended(ctx); ended != nil {
		return ended
	}
	return crony.Errorf(crony.Unavailable, "%s does not answer as crony does: %s", c.base, answer).
		WithHint("is it the address of a crony server, and does nothing stand in between?")
}

// broken is the error of an answer that stopped before its end.
func (c *Client) broken(ctx context.Context, err error) error {
	if ended := c.ended(ctx); ended != nil {
		return ended
	}
	return &crony.Error{Code: crony.Unavailable, Message: fmt.Sprintf("the answer of %s broke off: %v", c.base, err), Err: err,
		Hint: "the server may have been restarted; try again"}
}

// unreached is the error of a call that had no answer.
func (c *Client) unreached(ctx context.Context, err error) error {
	if ended := c.ended(ctx); ended != nil {
		return ended
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without the method and the address, which the message has
	}
	return &crony.Error{Code: crony.Unavailable, Message: fmt.Sprintf("%s cannot be reached: %v", c.base, err),
		Hint: c.hint(err), Err: err}
}

// ended is the error of a call whose context has ended: by the client's timeout, or in the caller's own way.
func (c *Client) ended(ctx context.Context) error {
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return nil
	case errors.Is(cause, errTimeout):
		return crony.Errorf(crony.Unavailable, "%s gave no answer within %s", c.base, c.timeout).
			WithHint("is crony well at %s? %s/readyz says", c.base, c.base)
	default:
		return fmt.Errorf("call %s: %w", c.base, cause)
	}
}

func (c *Client) hint(err error) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name the file with the cluster's CA certificate as the CA file"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "use a name or an address that the server's certificate holds"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || strings.Contains(err.Error(), "HTTP response to HTTPS client") {
		return "the server speaks plain HTTP: write http://"
	}
	return fmt.Sprintf("is crony running at %s?", c.base)
}
