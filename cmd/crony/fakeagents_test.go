package main

import (
	"net/http"

	"crony"
)

func (f *fake) routeAgents(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/agents", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"items": f.agents})
	})
	mux.HandleFunc("GET /api/v1/agents/{agent}", f.agent(func(w http.ResponseWriter, _ *http.Request, a *crony.AgentStatus) {
		if len(f.next) > 0 {
			f.next[0](a)
			f.next = f.next[1:]
		}
		reply(w, http.StatusOK, a)
	}))
	mux.HandleFunc("PATCH /api/v1/agents/{agent}", f.agent(func(w http.ResponseWriter, r *http.Request, a *crony.AgentStatus) {
		if !f.ask(w, r) {
			return
		}
		reply(w, http.StatusOK, a)
	}))
	mux.HandleFunc("GET /api/v1/agents/{agent}/figures", f.agent(func(w http.ResponseWriter, _ *http.Request, a *crony.AgentStatus) {
		figures, ok := f.hosts[a.ID]
		if !ok {
			refuse(w, crony.Errorf(crony.Unavailable, "the agent %s is not connected", a.Name))
			return
		}
		delete(f.hosts, a.ID)
		reply(w, http.StatusOK, figures)
	}))
}

// agent finds the agent of a path.
func (f *fake) agent(do func(w http.ResponseWriter, r *http.Request, a *crony.AgentStatus)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		found, err := crony.FindAgent(f.agents, r.PathValue("agent"))
		if err != nil {
			refuse(w, err.(*crony.Error)) //nolint:errorlint,forcetypeassert // it is one
			return
		}
		for i := range f.agents {
			if f.agents[i].ID == found.ID {
				do(w, r, &f.agents[i])
				return
			}
		}
	}
}
