package main

import (
	"cmp"
	"net/http"
	"slices"

	"crony"
)

func (f *fake) routeScripts(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/scripts", func(w http.ResponseWriter, _ *http.Request) {
		all := []*crony.ScriptStatus{}
		for _, script := range f.scripts {
			all = append(all, script)
		}
		slices.SortFunc(all, func(a, b *crony.ScriptStatus) int { return cmp.Compare(a.Script.Name, b.Script.Name) })
		reply(w, http.StatusOK, map[string]any{"items": all})
	})
	mux.HandleFunc("GET /api/v1/scripts/{name}", f.script(func(w http.ResponseWriter, s *crony.ScriptStatus) {
		reply(w, http.StatusOK, s)
	}))
	mux.HandleFunc("DELETE /api/v1/scripts/{name}", f.script(func(w http.ResponseWriter, s *crony.ScriptStatus) {
		if len(s.Jobs) > 0 {
			refuse(w, crony.Errorf(crony.Conflict, "%d jobs name the script %q", len(s.Jobs), s.Script.Name).
				WithHint("take it from them first"))
			return
		}
		delete(f.scripts, s.Script.Name)
		w.WriteHeader(http.StatusNoContent)
	}))
}

func (f *fake) script(answer func(w http.ResponseWriter, s *crony.ScriptStatus)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, ok := f.scripts[r.PathValue("name")]
		if !ok {
			refuse(w, crony.Errorf(crony.NotFound, "there is no script %q", r.PathValue("name")))
			return
		}
		answer(w, s)
	}
}
