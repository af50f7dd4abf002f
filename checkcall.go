package crony

import (
	"bytes"
	"encoding/json"
	"maps"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"crony/internal/methods"
)

// Bounds on what a call may hold.
const (
	maxURL        = 8 << 10
	maxCallHeader = 64
	maxPattern    = 4 << 10
)

var (
	tokenForm    = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // RFC 9110, 5.6.2
	methodForm   = regexp.MustCompile(`^[A-Z]{1,20}$`)
	metadataForm = regexp.MustCompile(`^[a-z0-9_.-]+$`) // see PROTOCOL-HTTP2.md of gRPC
	plainForm    = regexp.MustCompile(`^[\x20-\x7e]*$`) // likewise
	rpcForm      = regexp.MustCompile(`^[\w.]+/[A-Za-z_]\w*$`)
)

func (c *checker) http(at string, h *HTTP) {
	switch {
	case h.Method == "":
	case !methodForm.MatchString(h.Method):
		c.fault(at+"method", "as POST", "%q is no method", h.Method)
	case h.Method == "CONNECT":
		c.fault(at+"method", "as POST", "CONNECT asks for a tunnel, and no call can be made by it")
	}
	c.httpURL(at+"url", h)
	c.headers(at+"headers", h.Headers)
	c.length(at+"body", h.Body, maxScript)
	c.callText(at+"body", h.Body)
	if e := h.Expect; e != nil {
		c.expect(at+"expect.", e)
	}
	c.tls(at+"tls.", h.TLS)
}

// callText checks a template, and returns what it may become; "" if it has a fault.
func (c *checker) callText(at, text string) string {
	t, err := parseCallText(text)
	if err != nil {
		c.fault(at, "as {{.RunID}} or {{.Params.day}}", "the template can't be read: %v", err)
		return ""
	}
	filled, _ := t.with(t.sample()) // it was tried when it was read
	return filled
}

func (c *checker) httpURL(at string, h *HTTP) {
	if h.URL == "" {
		c.fault(at, "", "must be given")
		return
	}
	c.length(at, h.URL, maxURL)
	text := c.callText(at, h.URL)
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		c.fault(at, "as https://orders.internal/run", "%.200q is not the URL of a call by HTTP", h.URL)
		return
	case u.User != nil:
		c.fault(at, "give an Authorization header", "a URL that holds a password is shown wherever the URL is")
	}
	c.senseless(strings.TrimSuffix(at, "url")+"tls", h.TLS != nil && u.Scheme == "http",
		"the url begins with http:", "leave it out, or call https:")
}

// ownHeaders are made of the call itself.
var ownHeaders = regexp.MustCompile(
	`(?i)^(connection|content-length|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|crony-.*)$`)

func (c *checker) headers(at string, headers map[string]string) {
	if len(headers) > maxCallHeader {
		c.fault(at, "", "%d headers; at most %d", len(headers), maxCallHeader)
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		path, lower := at+"."+name, strings.ToLower(name)
		switch {
		case !tokenForm.MatchString(name):
			c.fault(path, "letters, digits and -", "%q cannot be a header's name", name)
		case ownHeaders.MatchString(name):
			c.fault(path, "leave it out", "the header is made by crony itself")
		case seen[lower]:
			c.fault(path, "leave one out", "the header is given twice")
		}
		seen[lower] = true
		c.length(path, headers[name], maxText)
		if strings.ContainsAny(c.callText(path, headers[name]), "\r\n\x00") {
			c.fault(path, "", "holds a line break")
		}
	}
}

func (c *checker) expect(at string, e *HTTPExpect) {
	if len(e.Status) > maxEach {
		c.fault(at+"status", "", "%d statuses; at most %d", len(e.Status), maxEach)
	}
	for i, text := range e.Status {
		if _, err := parseStatus(text); err != nil {
			c.fault(at+"status["+strconv.Itoa(i)+"]", `as "204" or "200-299", within 200 to 599`, "%v", err)
		}
	}
	c.length(at+"body", e.Body, maxPattern)
	if _, err := regexp.Compile(e.Body); err != nil {
		c.fault(at+"body", "RE2, see https://golang.org/s/re2syntax", "%v", err)
	}
}

func (c *checker) tls(at string, t *TLS) {
	if t == nil {
		return
	}
	for _, f := range []struct{ key, file string }{{"ca_file", t.CAFile}, {"cert_file", t.CertFile}, {"key_file", t.KeyFile}} {
		if f.file != "" && !path.IsAbs(f.file) {
			c.fault(at+f.key, "as /etc/ssl/internal.pem, on the agent", "%q is not an absolute path", f.file)
		}
		c.length(at+f.key, f.file, maxText)
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		c.fault(at[:len(at)-1], "give both, or neither", "one of cert_file and key_file is given without the other")
	}
	c.length(at+"server_name", t.ServerName, maxAgentName)
}

func (c *checker) grpc(at string, g *GRPC) {
	c.target(at+"target", g.Target)
	if !rpcForm.MatchString(g.Method) {
		c.fault(at+"method", "as search.v1.Index/Rebuild", "%.200q is no method", g.Method)
	}
	c.length(at+"method", g.Method, maxText)
	c.length(at+"request", string(g.Request), maxScript)
	if request := bytes.TrimSpace(g.Request); len(request) > 0 && request[0] != '{' {
		c.fault(at+"request", "as {full: true}", "is no message")
	}
	if len(g.Metadata) > maxCallHeader {
		c.fault(at+"metadata", "", "%d keys; at most %d", len(g.Metadata), maxCallHeader)
	}
	for _, key := range slices.Sorted(maps.Keys(g.Metadata)) {
		path := at + "metadata." + key
		switch {
		case !metadataForm.MatchString(key):
			c.fault(path, "small letters, digits and _ . -", "%q cannot be a key of metadata", key)
		case strings.HasPrefix(key, "grpc-") || strings.HasPrefix(key, "crony-"):
			c.fault(path, "choose another name", "keys that begin with grpc- and crony- are not for others")
		case strings.HasSuffix(key, "-bin"):
			c.fault(path, "give text, under another name", "not supported yet: metadata that is no text")
		case !plainForm.MatchString(g.Metadata[key]):
			c.fault(path, "", "holds other than printable ASCII")
		}
		c.length(path, g.Metadata[key], maxText)
	}
	c.tls(at+"tls.", g.TLS)
	c.descriptorSet(at, g)
}

// target refuses what gRPC would resolve in other ways than by DNS.
func (c *checker) target(at, target string) {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(target, "dns:///"))
	number, bad := strconv.Atoi(port)
	if target == "" {
		c.fault(at, "", "must be given")
	} else if err != nil || bad != nil || number < 1 || number > 65535 || host == "" || strings.ContainsAny(host, "/ @%?#\x00") ||
		len(host) > maxAgentName {
		c.fault(at, "HOST:PORT, as search.internal:9000 or dns:///search.internal:9000",
			"%.200q is not the target of a call by gRPC", target)
	}
}

func (c *checker) descriptorSet(at string, g *GRPC) {
	if g.DescriptorSet == "" {
		return
	}
	before := len(c.faults)
	c.length(at+"descriptor_set", g.DescriptorSet, maxScript)
	if len(c.faults) > before {
		return
	}
	m, err := methods.Read(g.DescriptorSet, g.Method)
	if err != nil {
		c.fault(at+"descriptor_set", "the base64 of what `protoc --include_imports --descriptor_set_out` writes", "%v", err)
		return
	}
	if m.Streams() {
		c.fault(at+"method", "", "not supported yet: methods that stream")
		return
	}
	if !json.Valid(g.Request) && len(g.Request) > 0 {
		return
	}
	if _, err := m.Request(g.Request); err != nil {
		c.fault(at+"request", "", "is not the message of %s: %v", g.Method, err)
	}
}
