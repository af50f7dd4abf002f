package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"crony"
)

// cluster is what a fake knows of its servers. It writes down what is asked of it.
type cluster struct {
	status  crony.ClusterStatus
	leaders []string // ids that lead with each later question, one after the other
	tokens  []crony.JoinToken
	asked   []string
	refusal *crony.Error                                           // of everything that is asked
	backup  func(w http.ResponseWriter, recipients []string) error // an error breaks it off
}

func (f *fake) routeCluster(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/cluster", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, f.cluster.status)
		if len(f.cluster.leaders) > 0 {
			f.cluster.status.Leader, f.cluster.leaders = f.cluster.leaders[0], f.cluster.leaders[1:]
		}
	})
	for _, route := range []string{"DELETE /api/v1/cluster/servers/{server}", "POST /api/v1/cluster/servers/{server}/promote",
		"POST /api/v1/cluster/transfer", "POST /api/v1/cluster/authority", "DELETE /api/v1/agents/{agent}"} {
		mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
			if f.ask(w, r) {
				w.WriteHeader(http.StatusNoContent)
			}
		})
	}
	mux.HandleFunc("GET /api/v1/join-tokens", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"items": f.cluster.tokens})
	})
	mux.HandleFunc("POST /api/v1/join-tokens", f.createToken)
	mux.HandleFunc("DELETE /api/v1/join-tokens/{id}", func(w http.ResponseWriter, r *http.Request) {
		left := slices.DeleteFunc(slices.Clone(f.cluster.tokens), func(t crony.JoinToken) bool { return t.ID == r.PathValue("id") })
		if len(left) == len(f.cluster.tokens) {
			refuse(w, crony.Errorf(crony.NotFound, "there is no join token %q", r.PathValue("id")))
			return
		}
		f.cluster.tokens = left
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /api/v1/backup", func(w http.ResponseWriter, r *http.Request) {
		if f.cluster.refusal != nil {
			refuse(w, f.cluster.refusal)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if err := f.cluster.backup(w, r.URL.Query()["recipient"]); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
}

// ask writes a question down, and refuses it if it is to be.
func (f *fake) ask(w http.ResponseWriter, r *http.Request) bool {
	body, _ := io.ReadAll(r.Body)
	f.cluster.asked = append(f.cluster.asked, fmt.Sprintf("%s %s %s", r.Method, r.URL.Path, body))
	if f.cluster.refusal != nil {
		refuse(w, f.cluster.refusal)
	}
	return f.cluster.refusal == nil
}

func (f *fake) createToken(w http.ResponseWriter, r *http.Request) {
	var spec crony.JoinTokenSpec
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
		refuse(w, crony.Errorf(crony.Invalid, "%v", err))
		return
	}
	token := crony.JoinToken{ID: fmt.Sprintf("t%d", len(f.cluster.tokens)+1), For: spec.For, Uses: spec.Uses, CreatedAt: noon,
		CreatedBy: "ada", ExpiresAt: noon.Add(spec.TTL.Std())}
	f.cluster.tokens = append(f.cluster.tokens, token)
	token.Secret = "cronyjoin_" + string(spec.For) + "_" + token.ID
	reply(w, http.StatusCreated, token)
}
