package callee_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"crony/sdk/callee"
)

// A service accepts a job's call at once, and tells the cluster's servers how the work goes. Here both sides are played: the
// server prints what it is told.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told, _ := io.ReadAll(r.Body)
		_, result, _ := strings.Cut(string(told), `"result":`)
		fmt.Println("told:", strings.TrimRight(result, "]}")+"}}")
		fmt.Fprint(w, "{}")
	}))
	defer server.Close()

	service, err := callee.New(callee.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	jobs := service.Handler(func(_ context.Context, run *callee.Run) (any, error) {
		return map[string]any{"job": run.Job, "documents": 12}, nil
	})

	call := httptest.NewRequest(http.MethodPost, "/jobs/rebuild-index", nil) // as an agent makes it
	for key, value := range map[string]string{
		"Crony-Job": "rebuild-index", "Crony-Run-Id": "01KABCDEFGHJKMNPQRSTVWXYZ0", "Crony-Attempt": "1", "Crony-Epoch": "7",
		"Crony-Scheduled-At": "2027-01-01T12:00:00Z", "Crony-Deadline": "2027-01-01T12:30:00Z", "Crony-Timeout": "1800",
		"Crony-Token": "of-the-call", "Crony-Servers": server.URL,
	} {
		call.Header.Set(key, value)
	}
	answer := httptest.NewRecorder()
	jobs.ServeHTTP(answer, call)
	fmt.Println("answered:", answer.Code)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := service.Close(ctx); err != nil {
		fmt.Println(err)
	}
	// Unordered output:
	// answered: 202
	// told: {"state":"succeeded","data":{"documents":12,"job":"rebuild-index"}}
}
