package sdk

import (
	"net/http"
	"testing"

	"crony"
)

func TestFinding(t *testing.T) {
	var asked string
	answering := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			asked = r.URL.EscapedPath() + "?" + r.URL.RawQuery
			answer(200, "application/json", body)(w, r)
		}
	}
	c := serve(t, map[string]http.HandlerFunc{
		"GET /api/v1/outputs/search":      answering(`{"items":[{"line":"a b","match":[0,1]}],"next":"n","runs":1,"bytes":3}`),
		"GET /api/v1/history":             answering(`{"items":[{"day":"2027-01-01"}]}`),
		"GET /api/v1/jobs/{name}/history": answering(`{"items":[]}`),
		"GET /api/v1/overview":            answering(`{"running":4}`),
	})
	for want, ask := range map[string]func() bool{
		"/api/v1/outputs/search?context=2&cursor=c&job=j&limit=3&text=a+b": func() bool {
			page, err := c.SearchOutput(t.Context(), crony.OutputQuery{
				Text: "a b", Context: 2, Limit: 3, Cursor: "c", Runs: crony.RunQuery{Job: "j", Limit: 9, Count: true}})
			return err == nil && page.Items[0].Match == [2]int{0, 1} && page.Next == "n" && page.Bytes == 3
		},
		"/api/v1/outputs/search?label=a%3Db&pattern=%5Ea%2B": func() bool {
			_, err := c.SearchOutput(t.Context(), crony.OutputQuery{
				Pattern: "^a+", Runs: crony.RunQuery{Labels: map[string]string{"a": "b"}}})
			return err == nil
		},
		"/api/v1/history?days=7": func() bool {
			days, err := c.History(t.Context(), "", 7)
			return err == nil && len(days) == 1 && days[0].Day == "2027-01-01"
		},
		"/api/v1/jobs/a%2Fb/history?days=8": func() bool {
			days, err := c.History(t.Context(), "a/b", 8)
			return err == nil && len(days) == 0
		},
		"/api/v1/overview?": func() bool {
			figures, err := c.Overview(t.Context())
			return err == nil && figures.Running == 4
		},
	} {
		if !ask() || asked != want {
			t.Errorf("asked for %s, want %s, or the answer was not understood", asked, want)
		}
	}
}
