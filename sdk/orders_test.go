package sdk

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"crony"
)

// TestStartAgain loses answers, and is refused for a while: the order that is given again is the same one.
func TestStartAgain(t *testing.T) {
	var mu sync.Mutex
	var orders []crony.StartOptions
	fault := func(http.ResponseWriter, int) bool { return false }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var o crony.StartOptions
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			t.Error(err)
		}
		orders = append(orders, o)
		if fault(w, len(orders)) {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		w.Write([]byte(`{"runs":["one"]}`))
	}))
	defer server.Close()
	c, err := New(Options{Address: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	dropped := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	refused := func(code crony.Code, status int) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(problem{Code: code, Detail: "no"})
		}
	}
	for name, test := range map[string]struct {
		fails func(http.ResponseWriter)
		times int
		asked int
		code  crony.Code
	}{
		"at once":       {nil, 0, 1, ""},
		"a lost answer": {dropped, 1, 2, ""},
		"two of them":   {dropped, 2, 3, ""},
		"no answer":     {dropped, 9, 3, crony.Unavailable},
		"not ready":     {refused(crony.Unavailable, 503), 2, 3, ""},
		"a refusal":     {refused(crony.Conflict, 409), 9, 1, crony.Conflict},
	} {
		mu.Lock()
		orders, fault = nil, func(w http.ResponseWriter, n int) bool {
			if n <= test.times {
				test.fails(w)
			}
			return n <= test.times
		}
		mu.Unlock()
		runs, err := c.StartJob(t.Context(), "j", crony.StartOptions{Agent: "a", Params: map[string]string{"day": "monday"}})
		mu.Lock()
		asked := slices.Clone(orders)
		mu.Unlock()
		if crony.CodeOf(err) != test.code || len(asked) != test.asked || err == nil && (len(runs) != 1 || runs[0] != "one") {
			t.Errorf("%s: %v, %v; asked %d times", name, runs, err, len(asked))
		}
		for _, o := range asked {
			if o.Request == "" || o.Request != asked[0].Request || o.Agent != "a" || o.Params["day"] != "monday" {
				t.Errorf("%s: asked for %+v after %+v", name, o, asked[0])
			}
		}
	}
}

func TestKill(t *testing.T) {
	c := serve(t, map[string]http.HandlerFunc{"POST /api/v1/runs/{id}/kill": func(w http.ResponseWriter, r *http.Request) {
		var body map[string]string
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body["reason"] != "stuck" {
			t.Errorf("asked for %v, %v", body, err)
		}
		answer(202, "application/json", `{"waits":"for `+r.PathValue("id")+`"}`)(w, r)
	}})
	if waits, err := c.Kill(t.Context(), "R", "stuck"); err != nil || waits != "for R" {
		t.Errorf("%q, %v", waits, err)
	}
	if err := c.KillRun(t.Context(), "R", "stuck"); err != nil {
		t.Error(err)
	}
}

// TestHandleRun asks again by the same name until there is an answer, and not after one.
func TestHandleRun(t *testing.T) {
	var asked []crony.HandleOptions
	bad := 2
	c := serve(t, map[string]http.HandlerFunc{"POST /api/v1/runs/{id}/handled": func(w http.ResponseWriter, r *http.Request) {
		var body crony.HandleOptions
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		switch asked = append(asked, body); {
		case len(asked) <= bad:
			answer(503, "application/problem+json", `{"code":"unavailable","detail":"not now"}`)(w, r)
		case len(asked) == bad+1:
			answer(200, "application/json", `{"by":"me","at":"2027-03-01T12:00:00Z","note":"booked"}`)(w, r)
		default:
			answer(409, "application/problem+json", `{"code":"conflict","detail":"the result is handled by bob"}`)(w, r)
		}
	}})
	h, err := c.HandleRun(t.Context(), "R", crony.HandleOptions{Note: "booked"})
	if err != nil || h.By != "me" || h.Note != "booked" || h.At.IsZero() || len(asked) != 3 {
		t.Fatalf("%+v, %v after %d calls", h, err, len(asked))
	}
	for _, o := range asked {
		if o.Request == "" || o != asked[0] {
			t.Errorf("asked for %+v, and for %+v", asked[0], o)
		}
	}
	if _, err := c.HandleRun(t.Context(), "R", crony.HandleOptions{Request: "mine"}); crony.CodeOf(err) != crony.Conflict ||
		len(asked) != 4 || asked[3].Request != "mine" {
		t.Errorf("%v, asked for %+v", err, asked[3:])
	}
}
