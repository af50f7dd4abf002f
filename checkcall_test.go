package crony

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// indexSet describes idx.v1.Index, with the methods Build and Watch, of which the second streams.
const indexSet = "CqIBCgdpLnByb3RvEgZpZHgudjEiPgoBQhIMCgRmdWxsGAEgASgIEg4KBnNoYXJkcxgCIAMoBRINCgVyYXRpbxgDIAEoARIMCgRuYW1lGAQgASgJMkcKBUluZGV4Eh0KBUJ1aWxkEgkuaWR4LnYxLkIaCS5pZHgudjEuQhIfCgVXYXRjaBIJLmlkeC52MS5CGgkuaWR4LnYxLkIwAWIGcHJvdG8z"

func TestCallFaults(t *testing.T) {
	const http, grpc = "jobs:\n  - name: a\n    http:\n      url: https://h/x\n", "jobs:\n  - name: a\n    grpc:\n      target: h:9000\n"
	const build = grpc + "      method: idx.v1.Index/Build\n"
	tests := map[string]struct {
		doc  string
		want []string // every fault, in order
	}{
		"all of http": {http + "      method: PUT\n      headers: {Host: other, X-Run: '{{.RunID}}', Authorization: Basic x}\n" +
			"      body: '{\"day\": {{json .Params.day}}}'\n      expect: {status: ['204', 300-399], body: '^ok'}\n      async: true\n", nil},
		"no url":                {"jobs:\n  - name: a\n    http: {method: GET}\n", []string{"line 3: jobs[0].http.url: must be given"}},
		"no http":               {"jobs:\n  - name: a\n    http: {url: 'ftp://h/'}\n", []string{`line 3: jobs[0].http.url: "ftp://h/" is not the URL of a call by HTTP (as https://`}},
		"no host":               {"jobs:\n  - name: a\n    http: {url: 'http:/x'}\n", []string{`line 3: jobs[0].http.url: "http:/x" is not the URL`}},
		"a host of a parameter": {"jobs:\n  - name: a\n    http: {url: 'http://{{.Params.host}}:{{.Params.port}}/'}\n", nil},
		"a whole url of one":    {"jobs:\n  - name: a\n    http: {url: '{{.Params.url}}'}\n", []string{`line 3: jobs[0].http.url: "{{.Params.url}}" is not the URL`}},
		"a password":            {"jobs:\n  - name: a\n    http: {url: 'http://a:b@h/'}\n", []string{"line 3: jobs[0].http.url: a URL that holds a password is shown wherever the URL is (give an Authorization header)"}},
		"templates": {http + "      headers: {X-A: '{{.Nothing}}'}\n      body: \"a\\n{{range 9}}x{{end}}\"\n", []string{
			"line 5: jobs[0].http.headers.X-A: the template can't be read: line 1: there is no {{.Nothing}}; there are RunID,",
			"line 6: jobs[0].http.body: the template can't be read: line 2: "}},
		"headers": {http + "      headers:\n        crony-token: x\n        Content-Length: 7\n        'a b': c\n        X: \"a\\nb\"\n        x: c\n", []string{
			"line 6: jobs[0].http.headers.crony-token: the header is made by crony itself",
			"line 7: jobs[0].http.headers.Content-Length: the header is made by crony itself",
			`line 8: jobs[0].http.headers.a b: "a b" cannot be a header's name`,
			"line 9: jobs[0].http.headers.X: holds a line break",
			"line 10: jobs[0].http.headers.x: the header is given twice"}},
		"method": {http + "      method: get\n", []string{`line 5: jobs[0].http.method: "get" is no method (as POST)`}},
		"tunnel": {http + "      method: CONNECT\n", []string{"line 5: jobs[0].http.method: CONNECT asks for a tunnel"}},
		"expect": {http + "      expect:\n        status: ['200', 2xx, 300-200]\n        body: '('\n", []string{
			`line 6: jobs[0].http.expect.status[1]: "2xx" is no status of an answer (as "204" or "200-299"`,
			`line 6: jobs[0].http.expect.status[2]: "300-200" ends before it begins`,
			"line 7: jobs[0].http.expect.body: error parsing regexp: missing closing )"}},
		"tls": {http + "      tls: {ca_file: ca.pem, key_file: /k}\n", []string{
			`line 5: jobs[0].http.tls.ca_file: "ca.pem" is not an absolute path (as /etc/ssl/internal.pem, on the agent)`,
			"line 5: jobs[0].http.tls: one of cert_file and key_file is given without the other"}},
		"tls without": {"jobs:\n  - name: a\n    http:\n      url: http://h/\n      tls: {}\n", []string{
			"line 5: jobs[0].http.tls: has no meaning: the url begins with http: (leave it out, or call https:)"}},

		"all of grpc": {"jobs:\n  - name: a\n    grpc: {target: 'dns:///[::1]:9000', method: a.B/C, tls: {}, async: true, request: {}, metadata: {authorization: Bearer x}}\n", nil},
		"no method": {"jobs:\n  - name: a\n    grpc: {target: 'unix:///run/x', method: Build}\n", []string{
			`line 3: jobs[0].grpc.target: "unix:///run/x" is not the target of a call by gRPC (HOST:PORT, as`,
			`line 3: jobs[0].grpc.method: "Build" is no method (as search.v1.Index/Rebuild)`}},
		"no target":             {"jobs:\n  - name: a\n    grpc: {method: a.B/C}\n", []string{"line 3: jobs[0].grpc.target: must be given"}},
		"a resolver of its own": {"jobs:\n  - name: a\n    grpc: {target: 'dns://8.8.8.8/h:1', method: a.B/C}\n", []string{"line 3: jobs[0].grpc.target: "}},
		"no port":               {"jobs:\n  - name: a\n    grpc: {target: h, method: a.B/C}\n", []string{"line 3: jobs[0].grpc.target: "}},
		"metadata": {build + "      metadata:\n        Tenant: x\n        grpc-timeout: 1S\n        crony-token: x\n        x-bin: x\n        y: ü\n", []string{
			`line 7: jobs[0].grpc.metadata.Tenant: "Tenant" cannot be a key of metadata`,
			"line 8: jobs[0].grpc.metadata.grpc-timeout: keys that begin with grpc- and crony- are not for others",
			"line 9: jobs[0].grpc.metadata.crony-token: keys that begin",
			"line 10: jobs[0].grpc.metadata.x-bin: not supported yet: metadata that is no text",
			"line 11: jobs[0].grpc.metadata.y: holds other than printable ASCII"}},
		"a request that is none": {build + "      request: [1]\n", []string{"line 6: jobs[0].grpc.request: is no message (as {full: true})"}},
		"described":              {build + "      descriptor_set: " + indexSet + "\n      request: {full: true, shards: [1, 2]}\n", nil},
		"another request": {build + "      descriptor_set: " + indexSet + "\n      request: {fool: true}\n", []string{
			`line 7: jobs[0].grpc.request: is not the message of idx.v1.Index/Build: `}},
		"a value of another kind": {build + "      descriptor_set: " + indexSet + "\n      request: {full: 7}\n", []string{
			`line 7: jobs[0].grpc.request: is not the message of idx.v1.Index/Build: `}},
		"a method that streams": {grpc + "      method: idx.v1.Index/Watch\n      descriptor_set: " + indexSet + "\n", []string{
			"line 5: jobs[0].grpc.method: not supported yet: methods that stream"}},
		"no such method": {grpc + "      method: idx.v1.Index/Drop\n      descriptor_set: " + indexSet + "\n", []string{
			"line 6: jobs[0].grpc.descriptor_set: the service idx.v1.Index has no method Drop (the base64 of what `protoc"}},
		"no such service": {grpc + "      method: idx.v1.B/Build\n      descriptor_set: " + indexSet + "\n", []string{
			"line 6: jobs[0].grpc.descriptor_set: idx.v1.B is no service"}},
		"no base64": {build + "      descriptor_set: '%'\n", []string{"line 6: jobs[0].grpc.descriptor_set: it is not base64"}},
		"no set":    {build + "      descriptor_set: aGVsbG8=\n", []string{"line 6: jobs[0].grpc.descriptor_set: it is no FileDescriptorSet"}},
		"too large a set": {build + "      descriptor_set: " + strings.Repeat("A", maxScript+1) + "\n", []string{
			"line 6: jobs[0].grpc.descriptor_set: has 262145 bytes; at most 262144"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := DecodeManifest([]byte(tt.doc))
			if len(tt.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if _, err := json.Marshal(m); err != nil {
					t.Fatal(err)
				}
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Code != Invalid {
				t.Fatalf("got %v, want an Invalid error", err)
			}
			if len(e.Faults) != len(tt.want) {
				t.Fatalf("got %d faults, want %d:\n%v", len(e.Faults), len(tt.want), e.Faults)
			}
			for i, f := range e.Faults {
				if !strings.HasPrefix(f.String(), tt.want[i]) {
					t.Errorf("fault %d:\n got %s\nwant %s", i, f, tt.want[i])
				}
			}
		})
	}
}
