package webui

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"crony"

	"github.com/google/go-cmp/cmp"
)

const reportBody = `{"attempt":2,"events":[{"seq":1,"at":"2027-01-31T12:00:00Z","progress":{"percent":40,"message":"half"}},` +
	`{"seq":2,"at":"2027-01-31T12:00:00Z","log":{"offset":0,"text":"line\n"}},` +
	`{"seq":3,"at":"2027-01-31T12:00:00Z","result":{"state":"failed","reason":"no","data":{"rows":[1, 2]}}}]}`

// TestTellRun: the token of the call is all that it takes, and no session stands in for it.
func TestTellRun(t *testing.T) {
	id := crony.NewRunID(noon)
	var got crony.CalleeReport
	r := newRig(t, func(o *Options) {
		o.Callback = func(_ context.Context, run crony.RunID, token string, report crony.CalleeReport) (crony.CalleeAnswer, error) {
			if run != id || token != "of-the-call" {
				return crony.CalleeAnswer{}, crony.Errorf(crony.Unauthorized, "this is not the token of the call")
			}
			got = report
			return crony.CalleeAnswer{Stop: "killed by eve"}, report.Check()
		}
	})
	bearer := http.Header{"Authorization": {"Bearer of-the-call"}}
	answer := r.do(t, call{method: "POST", path: apiBase + "/callbacks/" + string(id), body: reportBody, header: bearer})
	if answer.StatusCode != 200 || strings.TrimSpace(string(answer.body)) != `{"stop":"killed by eve"}` {
		t.Fatalf("%d %s", answer.StatusCode, answer.body)
	}
	want := crony.CalleeReport{Attempt: 2, Events: []crony.CalleeEvent{
		{Seq: 1, At: noon, Progress: &crony.ProgressFact{Percent: 40, Message: "half"}},
		{Seq: 2, At: noon, Log: &crony.CalleeLog{Text: "line\n"}},
		{Seq: 3, At: noon, Result: &crony.CalleeResult{State: crony.Failed, Reason: "no", Data: []byte(`{"rows":[1, 2]}`)}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, test := range map[string]struct {
		body   string
		run    string
		header http.Header
		cookie string
		status int
		says   string
	}{
		"no token":        {body: reportBody, status: 401, says: "Bearer TOKEN"},
		"a person's":      {body: reportBody, cookie: "secret-admin", status: 401, says: "Bearer TOKEN"},
		"another token":   {body: reportBody, header: http.Header{"Authorization": {"Bearer admin"}}, status: 401, says: "not the token"},
		"no run":          {body: reportBody, run: "x", header: bearer, status: 400, says: "is not a run's id"},
		"no JSON":         {body: `{"attempt":`, header: bearer, status: 400, says: "can't be read"},
		"two":             {body: reportBody + reportBody, header: bearer, status: 400, says: "something follows"},
		"an unknown key":  {body: `{"attempt":1,"evnts":[]}`, header: bearer, status: 400, says: "evnts"},
		"another kind":    {body: `{"attempt":1,"events":[{"seq":1},{"seq":"x"}]}`, header: bearer, status: 400, says: `"path":"events[1].seq"`},
		"nothing":         {body: `{"attempt":1}`, header: bearer, status: 400, says: "events"},
		"too many events": {body: `{"attempt":1,"events":[` + strings.Repeat("1,", 1000) + `1]}`, header: bearer, status: 400, says: "are 1001"},
		"too much percent": {body: strings.Replace(reportBody, "40", "400", 1), header: bearer, status: 400,
			says: `"path":"events[0].progress.percent"`},
		"too large": {body: `{"attempt":1,"events":"` + strings.Repeat("x", reportLimit) + `"}`, header: bearer, status: 413, says: "at most 1MiB"},
		"a form": {body: reportBody, header: http.Header{"Authorization": {"Bearer of-the-call"}, "Content-Type": {"text/plain"}}, status: 415,
			says: "application/json"},
	} {
		run := test.run
		if run == "" {
			run = string(id)
		}
		got := r.do(t, call{method: "POST", path: apiBase + "/callbacks/" + run, body: test.body, header: test.header, cookie: test.cookie})
		if got.StatusCode != test.status || !strings.Contains(string(got.body), test.says) {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
}

// TestTellRunTooFast bounds what is told of a run, and how many guesses a network has; a stranger's guesses keep no service from
// telling.
func TestTellRunTooFast(t *testing.T) {
	id, other := crony.NewRunID(noon), crony.NewRunID(noon.Add(time.Second))
	var refusal error
	r := newRig(t, func(o *Options) {
		o.Callback = func(context.Context, crony.RunID, string, crony.CalleeReport) (crony.CalleeAnswer, error) {
			return crony.CalleeAnswer{}, refusal
		}
	})
	tell := func(run crony.RunID) int {
		return r.do(t, call{method: "POST", path: apiBase + "/callbacks/" + string(run), body: reportBody,
			header: http.Header{"Authorization": {"Bearer x"}}}).StatusCode
	}
	for range freeReports {
		if got := tell(id); got != 200 {
			t.Fatal(got)
		}
	}
	if got, another := tell(id), tell(other); got != 429 || another != 200 {
		t.Errorf("one too many: %d, of another run: %d", got, another)
	}
	r.clock = r.clock.Add(reportTime)
	if got := tell(id); got != 200 {
		t.Errorf("later: %d", got)
	}
	r.clock = r.clock.Add(time.Minute)
	for i := range freeCalls {
		if refusal = crony.Errorf(crony.Unauthorized, "no"); i%2 == 0 {
			refusal = crony.Errorf(crony.NotFound, "no")
		}
		if got := tell(id); got != 401 && got != 404 {
			t.Fatal(got)
		}
	}
	if got := tell(id); got != 429 {
		t.Errorf("one guess too many: %d", got)
	}
	r.clock = r.clock.Add(10 * callTime)
	refusal = nil
	if got := tell(id); got != 200 {
		t.Errorf("after all the guesses: %d", got)
	}
	refusal = errors.New("inner")
	if got := tell(id); got != 500 {
		t.Errorf("%d", got)
	}
}

func FuzzReadReport(f *testing.F) {
	f.Add([]byte(reportBody))
	f.Add([]byte(`{"attempt":1e3,"events":[null,{},{"seq":1,"result":{"data":null}}]}`))
	f.Add([]byte(`{"attempt":1,"events":[{"seq":1,"at":"x"}]}x`))
	f.Fuzz(func(t *testing.T, body []byte) {
		report, err := readReport(body)
		if err != nil && crony.CodeOf(err) != crony.Invalid {
			t.Fatal(err)
		}
		if err == nil && report.Check() == nil && len(report.Events) > crony.MaxCalleeEvents {
			t.Fatalf("%d events", len(report.Events))
		}
	})
}
