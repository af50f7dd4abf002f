package appliance_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"crony/internal/testcluster"
	"crony/webui"
)

// TestBrowser runs the web app in a real browser against a real server: webui/app/e2e/run.mjs says what it does.
func TestBrowser(t *testing.T) {
	app := filepath.Join("..", "webui", "app")
	needed := os.Getenv("CRONY_REQUIRE_ALL") != "" || os.Getenv("CRONY_REQUIRE_E2E") != ""
	for _, missing := range []struct {
		is   bool
		what string
	}{
		{testing.Short(), "-short was given"},
		{!webui.Built(), "the web app is not built: make build"},
		{!found("node"), "node is not here"},
		{!found(browser()), browser() + " is not here"},
		{!exists(filepath.Join(app, "node_modules")), "webui/app/node_modules is not here: make build"},
	} {
		if missing.is && needed && !testing.Short() {
			t.Fatal(missing.what)
		}
		if missing.is {
			t.Skip(missing.what)
		}
	}
	c := testcluster.Start(t, 1)
	c.Apply(`jobs:
  - name: greeter
    title: Greets the world
    schedule: "*/2 * * * * *"
    shell: {command: 'echo "hello from $CRONY_JOB"'}
  - name: broken
    schedule: "*/5 * * * * *"
    shell: {command: 'echo "no such luck" >&2; exit 3'}
  - name: books
    handle_results: true
    shell: {command: 'echo "{\"rows\": 3}" > $CRONY_RESULT'}
`)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "e2e/run.mjs")
	cmd.Dir = app
	cmd.Env = append(os.Environ(), "CRONY_URL="+c.URL, "CRONY_LINK="+c.URL+"/login#"+c.Link(), "CRONY_JOB=greeter",
		"CRONY_RESULT_JOB=books")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}

func browser() string {
	if path := os.Getenv("CHROMIUM"); path != "" {
		return path
	}
	return "chromium"
}

func found(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
