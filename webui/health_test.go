package webui

import (
	"strings"
	"testing"
)

func TestHealth(t *testing.T) {
	r := newRig(t)
	for path, want := range map[string]string{
		"/livez":  `{"live":true}`,
		"/readyz": `{"ready":true,"web_app":true,"checks":[]}`,
	} {
		got := r.do(t, call{method: "GET", path: path})
		if got.StatusCode != 200 || got.Header.Get("Content-Type") != "application/json" || string(got.body) != want {
			t.Errorf("%s: %d %s %s", path, got.StatusCode, got.Header.Get("Content-Type"), got.body)
		}
	}
	r.checks = []Check{{Name: "quorum", Reason: "1 of 3 members answers"}, {Name: "disk", OK: true}}
	got := r.do(t, call{method: "GET", path: "/readyz"})
	want := `{"ready":false,"web_app":true,"checks":[` +
		`{"name":"quorum","ok":false,"reason":"1 of 3 members answers"},{"name":"disk","ok":true}]}`
	if got.StatusCode != 503 || string(got.body) != want {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if head := r.do(t, call{method: "HEAD", path: "/readyz"}); head.StatusCode != 503 || len(head.body) != 0 {
		t.Errorf("HEAD: %d %s", head.StatusCode, head.body)
	}
}

// TestMetricsNameRoutesNotPaths: a path in a label would make a series for each job.
func TestMetricsNameRoutesNotPaths(t *testing.T) {
	r := newRig(t)
	r.do(t, call{method: "GET", path: "/api/v1/jobs/secret-name", as: "viewer"})
	r.do(t, call{method: "GET", path: "/jobs/secret-name"})
	r.do(t, call{method: "GET", path: "/api/v1/secret-name"})
	got := r.do(t, call{method: "GET", path: "/metrics", as: "viewer"})
	for _, want := range []string{
		`crony_http_requests_total{method="GET",route="/api/v1/jobs/:name",status="404"} 1`,
		`crony_http_requests_total{method="GET",route="/",status="200"} 1`,
		`crony_http_requests_total{method="GET",route="/api/v1",status="401"} 1`,
		`crony_http_request_duration_seconds_count{method="GET",route="/api/v1/jobs/:name"} 1`,
		`crony_http_streams 0`,
	} {
		if !strings.Contains(string(got.body), want) {
			t.Errorf("no %s in\n%s", want, got.body)
		}
	}
	if strings.Contains(string(got.body), "secret-name") {
		t.Error("a path is a label")
	}
}

func TestPublicMetrics(t *testing.T) {
	r := newRig(t, func(o *Options) { o.PublicMetrics = true })
	if got := r.do(t, call{method: "GET", path: "/metrics"}); got.StatusCode != 200 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}
