package main

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"crony"
)

// ledger is what a fake knows of what became of occurrences.
type ledger struct {
	entries      map[string][]crony.LedgerEntry
	explanations map[string]crony.Explanation    // by job; the instant is that of the question
	parts        map[string][]crony.Verification // of each job, what it answers, one after the other
	verified     []string                        // the questions
}

func (f *fake) routeLedger(mux *http.ServeMux) {
	mux.HandleFunc("GET /api/v1/jobs/{name}/ledger", f.listLedger)
	mux.HandleFunc("GET /api/v1/jobs/{name}/explain", f.explainOccurrence)
	mux.HandleFunc("GET /api/v1/jobs/{name}/verify", f.verifyLedger)
	mux.HandleFunc("GET /api/v1/calendars", func(w http.ResponseWriter, _ *http.Request) {
		all := []*crony.CalendarStatus{}
		for _, calendar := range f.calendars {
			all = append(all, calendar)
		}
		slices.SortFunc(all, func(a, b *crony.CalendarStatus) int { return cmp.Compare(a.Calendar.Name, b.Calendar.Name) })
		reply(w, http.StatusOK, map[string]any{"items": all})
	})
	mux.HandleFunc("GET /api/v1/calendars/{name}", f.calendar(func(w http.ResponseWriter, c *crony.CalendarStatus) {
		reply(w, http.StatusOK, c)
	}))
	mux.HandleFunc("DELETE /api/v1/calendars/{name}", f.calendar(func(w http.ResponseWriter, c *crony.CalendarStatus) {
		if len(c.Jobs) > 0 {
			refuse(w, crony.Errorf(crony.Conflict, "%d jobs keep the calendar %q", len(c.Jobs), c.Calendar.Name).
				WithHint("take it from them first"))
			return
		}
		delete(f.calendars, c.Calendar.Name)
		w.WriteHeader(http.StatusNoContent)
	}))
}

// never refuses a job that nobody ever knew.
func never(w http.ResponseWriter, job string) {
	refuse(w, crony.Errorf(crony.NotFound, "there never was a job %q", job))
}

func (f *fake) listLedger(w http.ResponseWriter, r *http.Request) {
	entries, ok := f.ledger.entries[r.PathValue("name")]
	if !ok {
		never(w, r.PathValue("name"))
		return
	}
	from, to := bounds(r)
	entries = slices.DeleteFunc(slices.Clone(entries), func(e crony.LedgerEntry) bool {
		return e.To.Before(from) || e.From.After(to)
	})
	var page crony.LedgerPage
	page.Items, page.Next = cut(f, entries, r)
	reply(w, http.StatusOK, page)
}

// bounds are those of the query, or a day before noon.
func bounds(r *http.Request) (from, to time.Time) {
	from, to = noon.Add(-24*time.Hour), noon
	if text := r.URL.Query().Get("from"); text != "" {
		from, _ = time.Parse(time.RFC3339, text)
	}
	if text := r.URL.Query().Get("to"); text != "" {
		to, _ = time.Parse(time.RFC3339, text)
	}
	return from, to
}

func (f *fake) explainOccurrence(w http.ResponseWriter, r *http.Request) {
	answer, ok := f.ledger.explanations[r.PathValue("name")]
	if !ok {
		never(w, r.PathValue("name"))
		return
	}
	answer.Job = r.PathValue("name")
	answer.At, _ = time.Parse(time.RFC3339, r.URL.Query().Get("at"))
	reply(w, http.StatusOK, answer)
}

func (f *fake) verifyLedger(w http.ResponseWriter, r *http.Request) {
	job := r.PathValue("name")
	f.ledger.verified = append(f.ledger.verified, job+"?"+r.URL.RawQuery)
	parts := f.ledger.parts[job]
	if len(parts) == 0 {
		never(w, job)
		return
	}
	answer := parts[0]
	answer.Job = job
	f.ledger.parts[job] = parts[1:]
	reply(w, http.StatusOK, answer)
}

func (f *fake) calendar(answer func(w http.ResponseWriter, c *crony.CalendarStatus)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, ok := f.calendars[r.PathValue("name")]
		if !ok {
			refuse(w, crony.Errorf(crony.NotFound, "there is no calendar %q", r.PathValue("name")))
			return
		}
		answer(w, c)
	}
}
