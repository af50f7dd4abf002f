// Package sdk is the Go client of crony's REST API.
//
// A [Client] is one more implementation of the domain's stores ([crony.Jobs], [crony.Calendars], [crony.Scripts], [crony.Runs],
// [crony.OutputSearch], [crony.Figures], [crony.Ledger], [crony.Agents], [crony.Cluster]): code written against those does
// not know whether the store is in its own process or behind a network.
//
//	client, err := sdk.New(sdk.Options{Address: "https://crony.internal:8470", Token: token})
//	...
//	id, err := client.StartJob(ctx, "nightly-report")
//
// The one thing to know: every refusal is a [crony.Error], with the code, the hint and the faults that the server gave it.
// An answer that is not crony's own (a proxy's page, another service, no answer at all) is one too: of code Unavailable,
// with a hint where to look. Only the caller's own context ending is told as it is.
//
// It does not retry, does not cache, keeps no cookies and follows no redirects: a call is one request to one server.
package sdk

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"crony"
)

// Defaults of [Options].
const (
	DefaultAddress = "http://127.0.0.1:8470"
	DefaultTimeout = 30 * time.Second
)

// Options says which server a client speaks to, and as whom.
type Options struct {
	Address    string        // http or https, host and port, perhaps a path that a proxy puts before it; [DefaultAddress] if empty
	Token      string        // API token; "" sends none
	CAFile     string        // PEM: the only authorities that may sign the server's certificate; the system's if empty
	Timeout    time.Duration // of one call, its answer included; streams and backups have none; [DefaultTimeout] if 0
	UserAgent  string        // "crony-sdk" if empty
	HTTPClient *http.Client  // used as it is, in place of one made from CAFile; its Timeout would end streams too
}

// Client calls one server. It is safe for concurrent use.
type Client struct {
	base      string // the address without a trailing slash
	token     string
	userAgent string
	timeout   time.Duration
	http      *http.Client
}

var (
	_ crony.Jobs      = (*Client)(nil)
	_ crony.Calendars = (*Client)(nil)
	_ crony.Scripts   = (*Client)(nil)
	_ crony.Runs      = (*Client)(nil)
	_ crony.Ledger    = (*Client)(nil)
	_ crony.Figures   = (*Client)(nil)
	_ crony.Agents    = (*Client)(nil)
	_ crony.Cluster   = (*Client)(nil)

	_ crony.OutputSearch = (*Client)(nil)
)

// New returns a client. It calls nobody; an option that cannot work is an error of code Invalid.
func New(opts Options) (*Client, error) {
	c := &Client{
		base:      strings.TrimRight(cmp.Or(opts.Address, DefaultAddress), "/"),
		token:     opts.Token,
		userAgent: cmp.Or(opts.UserAgent, "crony-sdk"),
		timeout:   cmp.Or(opts.Timeout, DefaultTimeout),
		http:      opts.HTTPClient,
	}
	if err := checkAddress(c.base); err != nil {
		return nil, err
	}
	if strings.ContainsFunc(c.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, crony.Errorf(crony.Invalid, "the token holds a character that no token has").
			WithHint("look for a space or a line end that was copied with it")
	}
	if c.http != nil {
		return c, nil
	}
	roots, err := readRoots(opts.CAFile)
	if err != nil {
		return nil, err
	}
	c.http = newHTTPClient(roots)
	return c, nil
}

// Address returns the address of the server that the client calls.
func (c *Client) Address() string { return c.base }

func checkAddress(address string) error {
	u, err := url.Parse(address)
	switch {
	case err == nil && u.User != nil:
		return crony.Errorf(crony.Invalid, "the address %s holds a user's name", u.Redacted()).
			WithHint("give the token as the token")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return crony.Errorf(crony.Invalid, "%q is not the address of a server", address).
			WithHint("write it like %s", DefaultAddress)
	}
	return nil
}

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, &crony.Error{Code: crony.Invalid, Message: "read the CA's certificate: " + err.Error(), Err: err}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, crony.Errorf(crony.Invalid, "%s holds no certificate", file).WithHint("it must be PEM")
	}
	return roots, nil
}

// newHTTPClient returns a client of the standard library's habits, but for redirects: an API has none, so that one which is
// seen comes from something else, and the token is not carried there.
func newHTTPClient(roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         dialer.DialContext,
			TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: 10 * time.Second,
			IdleConnTimeout:     90 * time.Second,
			ForceAttemptHTTP2:   true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
