//go:build linux

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"crony"
)

// TestResult has processes leave anything in the place of their result's file.
func TestResult(t *testing.T) {
	t.Parallel()
	r := newRig(t, t.TempDir()).begin()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(`{"secret":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		command string
		result  string
		state   crony.RunState
		reason  string // part of it; "": there is none
	}{
		"given":          {`echo '{"rows": 3, "text": "<&>"}' > $CRONY_RESULT`, `{"rows":3,"text":"<&>"}`, crony.Succeeded, ""},
		"of a failure":   {`echo '[1]' > $CRONY_RESULT; exit 3`, `[1]`, crony.Failed, "exit code 3"},
		"none":           {`true`, ``, crony.Succeeded, ""},
		"blank":          {`echo > $CRONY_RESULT`, ``, crony.Succeeded, ""},
		"removed":        {`rm $CRONY_RESULT`, ``, crony.Succeeded, ""},
		"replaced":       {`echo 7 > $CRONY_RESULT.new; mv $CRONY_RESULT.new $CRONY_RESULT`, `7`, crony.Succeeded, ""},
		"mode":           {`test "$(stat -c %a-%s $CRONY_RESULT)" = 600-0 && echo 1 > $CRONY_RESULT`, `1`, crony.Succeeded, ""},
		"from elsewhere": {`cd / && echo 1 > $CRONY_RESULT`, `1`, crony.Succeeded, ""},
		"no JSON":        {`echo '{"rows": ' > $CRONY_RESULT`, ``, crony.Succeeded, "its result does not count: it is not one JSON value"},
		"failed, and no JSON": {`echo x > $CRONY_RESULT; exit 3`, ``, crony.Failed,
			"exit code 3; its result does not count: it is not one JSON value: at byte 1"},
		"binary":    {`head -c 100 /dev/zero > $CRONY_RESULT; printf '\377' >> $CRONY_RESULT`, ``, crony.Succeeded, "it is not text in UTF-8"},
		"huge":      {`yes '"x"' | head -c 50M > $CRONY_RESULT`, ``, crony.Succeeded, "it has more than 49152 bytes"},
		"endless":   {`truncate -s 1T $CRONY_RESULT`, ``, crony.Succeeded, "it has more than 49152 bytes"},
		"link":      {`ln -sf ` + secret + ` $CRONY_RESULT`, ``, crony.Succeeded, "its result does not count: it is no file"},
		"loop":      {`rm $CRONY_RESULT; ln -s $CRONY_RESULT $CRONY_RESULT`, ``, crony.Succeeded, "it is no file"},
		"pipe":      {`rm $CRONY_RESULT; mkfifo $CRONY_RESULT`, ``, crony.Succeeded, "it is no file"},
		"directory": {`rm $CRONY_RESULT; mkdir -p $CRONY_RESULT/a/b; echo 1 > $CRONY_RESULT/a/c`, ``, crony.Succeeded, "it is no file"},
		"device":    {`ln -sf /dev/zero $CRONY_RESULT`, ``, crony.Succeeded, "it is no file"},
	} {
		id := r.start(sh(c.command))
		got := r.ended(id)
		if got.State != c.state || string(got.Result) != c.result || c.reason == "" && got.Reason != "" || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %s, %s, %.200s", name, got.State, got.Reason, got.Result)
		}
		if strings.Contains(got.Reason, r.dir) {
			t.Errorf("%s: the reason tells where the agent is: %s", name, got.Reason)
		}
	}
	if _, err := os.Stat(secret); err != nil {
		t.Errorf("what was linked to: %v", err)
	}
	if n := r.files(); n != 0 {
		t.Errorf("%d files are left behind", n)
	}
}

// TestResultOfADevice reads none: where there may be one, to open it may do something already.
func TestResultOfADevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device")
	if err := unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))); err != nil { // see null(4)
		t.Skipf("no device can be made here: %v", err)
	}
	if data, err := readResult(path); err == nil || data != nil || !strings.Contains(err.Error(), "no file") {
		t.Errorf("%.20q, %v", data, err)
	}
}

// TestRecoverResult kills the agent at each moment between the process's end and the run's.
func TestRecoverResult(t *testing.T) {
	t.Parallel()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	id, zero := crony.NewRunID(noon), 0
	begun := entry{Birth: &birth{boot, 1}, Fact: &crony.Fact{Run: id, At: noon, Started: &crony.StartedFact{Attempt: 1, PID: 1 << 22}}}
	exited := entry{Fact: &crony.Fact{Run: id, At: noon, Exited: &crony.ExitedFact{Attempt: 1, ExitCode: &zero}}}
	given := entry{Fact: &crony.Fact{Run: id, At: noon, Result: &crony.ResultFact{Attempt: 1, Data: []byte(`{"<rows>":3}`)}}}
	ended := entry{Fact: &crony.Fact{Run: id, At: noon, Ended: &crony.EndedFact{State: crony.Succeeded}}}
	for name, c := range map[string]struct {
		file    string // what it holds; "": it is not there
		entries []entry
		state   crony.RunState
		result  string
		reason  string
	}{
		"claimed, and started": {`{"<rows>":3}`, []entry{claimedBy(id)}, crony.Lost, `{"<rows>":3}`, "while it started the run"},
		"started":              {`{"<rows>":3}`, []entry{claimedBy(id), begun}, crony.Lost, `{"<rows>":3}`, "was restarted"},
		"exited":               {`{"<rows>":3}`, []entry{claimedBy(id), begun, exited}, crony.Succeeded, `{"<rows>":3}`, ""},
		"exited, and no JSON":  {`{`, []entry{claimedBy(id), begun, exited}, crony.Succeeded, ``, "its result does not count"},
		"given":                {`{"<rows>":3}`, []entry{claimedBy(id), begun, exited, given}, crony.Succeeded, `{"<rows>":3}`, ""},
		"given, and removed":   {``, []entry{claimedBy(id), begun, exited, given}, crony.Succeeded, `{"<rows>":3}`, ""},
		"ended":                {``, []entry{claimedBy(id), begun, exited, given, ended}, crony.Succeeded, `{"<rows>":3}`, ""},
	} {
		dir := t.TempDir()
		leave(t, dir, id, "some", c.entries...)
		if c.file != "" {
			if err := os.WriteFile(resultPath(dir, id, 1), []byte(c.file), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		r := newRig(t, dir)
		if claims := r.runner.recover(); len(claims) > 0 {
			t.Errorf("%s: it would be started twice", name)
		}
		r.begin()
		got := r.ended(id)
		if got.State != c.state || string(got.Result) != c.result || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %s, %s, %s", name, got.State, got.Reason, got.Result)
		}
		results := 0
		r.desk.set(func() {
			for _, f := range r.desk.facts[id] {
				if f.Result != nil {
					results++
				}
			}
		})
		if want := min(len(c.result), 1); results != want {
			t.Errorf("%s: %d results are told, want %d", name, results, want)
		}
		if n := r.files(); n != 0 {
			t.Errorf("%s: %d files are left behind", name, n)
		}
	}
}
