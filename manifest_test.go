package crony

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crony/internal/strict"
)

// decodeOnly reads a manifest without checking what it says, for keys that are decoded but not served yet.
func decodeOnly(t *testing.T, file string) Manifest {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var m Manifest
	if _, faults := strict.Decode(data, &m); len(faults) > 0 {
		t.Fatalf("%s: %v", file, faults)
	}
	return m
}

func TestEveryKeyOfTheManifestIsDecoded(t *testing.T) {
	m := decodeOnly(t, "testdata/every-key.yaml")
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var again Manifest
	if _, faults := strict.Decode(data, &again); len(faults) > 0 {
		t.Fatalf("the JSON of a manifest is not a manifest: %v", faults)
	}
	if diff := cmp.Diff(m, again); diff != "" {
		t.Errorf("a manifest changes by being written and read (-before +after):\n%s", diff)
	}
	golden, err := os.ReadFile("testdata/every-key.json")
	if err != nil {
		t.Fatal(err)
	}
	var want, got any
	if err := json.Unmarshal(golden, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("every-key.yaml is not what every-key.json says (-want +got):\n%s", diff)
	}
}

func TestManifestFaults(t *testing.T) {
	const shell = "    shell: {command: 'true'}\n"
	tests := []struct {
		name, doc string
		want      []string // every fault, in order
	}{
		{"minute out of range", "jobs:\n  - name: a\n    schedule: \"61 * * * *\"\n" + shell, []string{
			"line 3: jobs[0].schedule: "}},
		{"misspelt key", "jobs:\n  - name: a\n    shell:\n      comand: x\n", []string{
			`line 4: jobs[0].shell.comand: unknown key "comand" (did you mean "command"?)`}},
		{"name with a space", "jobs:\n  - name: a b\n" + shell, []string{
			`line 2: jobs[0].name: "a b" cannot be a name (small letters, digits and . _ -, with a letter or digit first)`}},
		{"no name", "jobs:\n  - shell: {command: x}\n", []string{"line 2: jobs[0].name: must be given"}},
		{"long name", "jobs:\n  - name: " + strings.Repeat("a", 64) + "\n" + shell, []string{
			"line 2: jobs[0].name: has 64 characters; at most 63"}},
		{"twice", "jobs:\n  - name: a\n" + shell + "  - name: a\n" + shell, []string{
			`line 4: jobs[1].name: jobs[0] has the name "a" too`}},
		{"faults of form and of value at once",
			"jobs:\n  - name: a b\n    schedule: '61 * * * *'\n    timeout: soon\n    shell:\n      comand: x\n", []string{
				`line 2: jobs[0].name: "a b" cannot be a name`,
				"line 3: jobs[0].schedule: ",
				`line 4: jobs[0].timeout: "soon" is not a duration (write one like 90s, 1h30m or 30d)`,
				`line 6: jobs[0].shell.comand: unknown key "comand" (did you mean "command"?)`}},
		{"several wrong values", "jobs:\n  - name: A\n    notify: {on: [failed]}\n    shell: {}\n", []string{
			`line 2: jobs[0].name: "A" cannot be a name (small letters, digits and . _ -, with a letter or digit first)`,
			"line 3: jobs[0].notify: not supported yet: notify",
			"line 4: jobs[0].shell: 0 of command, script and argv are given (give one of command, script and argv)"}},
		{"more than is kept", "jobs:\n  - name: a\n    retention: {age: 59s, runs: -1}\n" + shell, []string{
			`line 3: jobs[0].retention.age: 59s is too short (at least 1m, as 30d)`,
			`line 3: jobs[0].retention.runs: -1 is out of range (1 to 1000000; left out, there is no bound)`}},
		{"retries elsewhere", "jobs:\n  - name: a\n    retry: {elsewhere: true}\n    placement: {agent: a1}\n" + shell +
			"  - name: b\n    retry: {elsewhere: true}\n    placement: {mode: each}\n" + shell +
			"  - name: c\n    retry: {elsewhere: true}\n    placement: {mode: race}\n    scripts: [s]\n" + shell +
			"  - name: d\n    retry: {elsewhere: true, on: [lost]}\n" + shell, []string{
			"line 3: jobs[0].retry.elsewhere: has no meaning: the job is pinned to an agent by `agent` (leave one of the two out)",
			"line 7: jobs[1].retry.elsewhere: has no meaning: a job of mode each is every agent's own (leave it out)",
			`line 11: jobs[2].retry.elsewhere: not supported yet beside scripts (leave one of the two out)`}},
		{"retries", "jobs:\n  - name: a\n    timeout: 2m\n    run_timeout: 1m\n    retry: {attempts: 101, interval: 1ms, max_interval: 1h, " +
			"on: [failed, failed, killed]}\n" + shell +
			"  - name: b\n    run_timeout: 1s\n    retry: {attempts: 1, backoff: exponential, interval: 2h}\n" + shell +
			"  - name: c\n    retry: {backoff: exponential, interval: 25h, max_interval: 25h}\n" + shell, []string{
			`line 4: jobs[0].run_timeout: 1m is shorter than the timeout of one attempt, 2m (give the whole run longer, or leave it out)`,
			`line 5: jobs[0].retry.on[2]: "killed" is not known here (one of: failed, timed_out, lost)`,
			`line 5: jobs[0].retry.attempts: 101 is out of range (2 to 100, in all; 3 if it is left out)`,
			`line 5: jobs[0].retry.interval: 1ms is out of range (100ms to 1d; 10s if it is left out)`,
			`line 5: jobs[0].retry.max_interval: a fixed backoff has the same interval each time (leave it out, or use backoff: exponential)`,
			`line 5: jobs[0].retry.on[1]: failed is named twice (leave one out)`,
			`line 9: jobs[1].retry.attempts: 1 is out of range (2 to 100, in all; 3 if it is left out)`,
			`line 9: jobs[1].retry.interval: 2h is longer than max_interval, which is 1h if it is left out (give max_interval)`,
			`line 12: jobs[2].retry.interval: 1d1h is out of range (100ms to 1d; 10s if it is left out)`,
			`line 12: jobs[2].retry.max_interval: 1d1h is out of range (100ms to 1d; 1h if it is left out)`}},
		{"no work", "jobs:\n  - name: a\n", []string{
			"line 2: jobs[0]: 0 of shell, http and grpc are given (give one of shell, http and grpc)"}},
		{"a word that is not known", "jobs:\n  - name: a\n    overlap: skip\n" + shell, []string{
			`line 3: jobs[0].overlap: "skip" is not known here (one of: allow, forbid, queue, replace)`}},
		{"crony's own variables", "jobs:\n  - name: a\n    shell: {command: x, env: {CRONY_RUN_ID: y}}\n", []string{
			"line 3: jobs[0].shell.env.CRONY_RUN_ID: names that begin with CRONY_ are crony's own (choose another name)"}},
		{"relative interpreter", "jobs:\n  - name: a\n    shell: {command: x, interpreter: bash}\n", []string{
			`line 3: jobs[0].shell.interpreter: "bash" is not an absolute path (as /bin/bash)`}},
		{"users, umasks and limits", "jobs:\n  - name: a\n    shell:\n      command: x\n      user: a b\n      umask: '0o27'\n" +
			"      limits: {memory: 4KiB, cpu: 0.001, pids: -1}\n  - name: b\n    shell: {command: x, user: -x, umask: '1777', limits: {cpu: .nan}}\n",
			[]string{
				`line 5: jobs[0].shell.user: "a b" cannot be a user (a name as in passwd(5), or a number)`,
				`line 6: jobs[0].shell.umask: "0o27" is no umask (octal, in quotes, as "0027")`,
				"line 7: jobs[0].shell.limits.memory: 4KiB is too little (at least 1MiB; left out, there is no limit)",
				"line 7: jobs[0].shell.limits.cpu: 0.001 is out of range (cores, 0.01 to 4096, as 1.5; left out, there is no limit)",
				"line 7: jobs[0].shell.limits.pids: -1 is out of range (1 to 4194304; left out, there is no limit)",
				"line 9: jobs[1].shell.limits.cpu: must be a number",
				`line 9: jobs[1].shell.user: "-x" cannot be a user`,
				`line 9: jobs[1].shell.umask: "1777" is no umask`}},
		{"rlimits", "jobs:\n  - name: a\n    shell:\n      command: x\n      rlimits:\n        nofiles: 1\n        nofile: unlimited\n" +
			"        core: -1\n        fsize: 1MB\n        nproc: 64KiB\n        stack: 1KiB\n        cpu: 1.5\n        nice: 41\n" +
			"        data: 16PiB\n        memlock: true\n        rtprio: [1]\n        as: 010000000\n",
			[]string{
				`line 6: jobs[0].shell.rlimits.nofiles: unknown key "nofiles" (did you mean "nofile"?)`,
				"line 7: jobs[0].shell.rlimits.nofile: it can't be unlimited (4 to 1073741824)",
				"line 8: jobs[0].shell.rlimits.core: -1 is less than nothing (bytes, or a size as 64MiB, or unlimited)",
				`line 9: jobs[0].shell.rlimits.fsize: "1MB" is no limit (bytes, or a size as 64MiB, or unlimited)`,
				`line 10: jobs[0].shell.rlimits.nproc: "64KiB" is no limit (a whole number, of at least 0, or unlimited)`,
				"line 11: jobs[0].shell.rlimits.stack: 1KiB is out of range (bytes, or a size as 64MiB, of at least 64KiB, or unlimited)",
				`line 12: jobs[0].shell.rlimits.cpu: "1.5" is no limit (a whole number, of at least 1, or unlimited)`,
				"line 13: jobs[0].shell.rlimits.nice: 41 is out of range (0 to 40, or unlimited)",
				`line 14: jobs[0].shell.rlimits.data: "16PiB" is no limit`,
				`line 15: jobs[0].shell.rlimits.memlock: "true" is no limit`,
				"line 16: jobs[0].shell.rlimits.rtprio: must be a single value, not a list",
				`line 17: jobs[0].shell.rlimits.as: "010000000" is no limit`}},
		{"nothing", "jobs: []\n", []string{"the manifest defines nothing (write at least one job under `jobs:`)"}},
		{"empty", "", []string{"the document is empty"}},
		{"scripts", "scripts:\n  - {name: A, interpreter: sh, script: ''}\n  - {name: b, script: x}\n" +
			"  - {name: b, script: x}\n  - {name: c, script: " + strings.Repeat("x", 64<<10+1) + "}\n", []string{
			`line 2: scripts[0].name: "A" cannot be a name`,
			`line 2: scripts[0].interpreter: "sh" is not an absolute path (as /bin/bash)`,
			"line 2: scripts[0].script: must be given",
			`line 4: scripts[2].name: scripts[1] has the name "b" too`,
			"line 5: scripts[3].script: has 65537 bytes; at most 65536"}},
		{"scripts of a job", "jobs:\n  - name: a\n    scripts: [x, X, x]\n" + shell, []string{
			`line 3: jobs[0].scripts[1]: "X" cannot be a name`,
			"line 3: jobs[0].scripts[2]: the script x is named twice (leave one out)"}},
		{"too many scripts of a job", "jobs:\n  - name: a\n    scripts: [" + strings.Repeat("x,", 17) + "]\n" + shell, []string{
			"line 3: jobs[0].scripts: 17 scripts; at most 16"}},
		{"scripts for a call", "jobs:\n  - name: a\n    scripts: [x]\n    http: {url: 'http://x'}\n", []string{
			"line 3: jobs[0].scripts: scripts prepare a host for a command, and not for a call (leave it out)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := DecodeManifest([]byte(tt.doc))
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Code != Invalid {
				t.Fatalf("got %v, want an Invalid error", err)
			}
			var got []string
			for _, f := range e.Faults {
				got = append(got, f.String())
			}
			if len(got) != len(tt.want) {
				t.Fatalf("got %d faults, want %d:\n%s", len(got), len(tt.want), strings.Join(got, "\n"))
			}
			for i := range got {
				if !strings.HasPrefix(got[i], tt.want[i]) {
					t.Errorf("fault %d:\n got %s\nwant %s", i, got[i], tt.want[i])
				}
			}
		})
	}
}

// Each key that the manifest knows and crony does not serve yet is refused by its name.
func TestNotSupportedYet(t *testing.T) {
	m := decodeOnly(t, "testdata/every-key.yaml")
	got := map[string]bool{}
	for _, f := range m.Faults() {
		if key, ok := strings.CutPrefix(f.Message, "not supported yet: "); ok {
			got[key] = true
		} else if !strings.Contains(f.Message, "not supported yet") && !strings.Contains(f.Message, "has no meaning") {
			// a job with every key has some beside which others mean nothing
			t.Errorf("a fault in a manifest that is right: %s", f)
		}
	}
	want := map[string]bool{}
	for _, key := range strings.Fields(`channels notify secrets`) {
		want[key] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("refused keys (-want +got):\n%s", diff)
	}
}

func TestRefusesJunkQuickly(t *testing.T) {
	junk := strings.Repeat("\x00\xff junk: [", 10<<20/9)
	_, err := DecodeManifest([]byte(junk))
	if CodeOf(err) != Invalid || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("got %v, want one fault", err)
	}
}

func FuzzDecodeManifest(f *testing.F) {
	data, err := os.ReadFile("testdata/every-key.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("jobs:\n  - &a {name: a, shell: {argv: [x]}, schedule: '@every 1s'}\n  - *a\n"))
	f.Add([]byte(`calendars: [{name: a, timezone: Asia/Shanghai, working_days: [mon], days_off: [2027-02-05/2027-02-11],
  blackouts: [{from: 2027-01-01T00:00:00.5+01:00, to: 2027-01-02T00:00:00Z}]}, {name: b}]
jobs: [{name: j, calendars: [{name: a, "on": next-working-day}, {name: b, "on": skip}, {name: c, "on": skip}], shell: {command: x}}]
`))
	f.Add([]byte("scripts: [{name: s, interpreter: /bin/sh, timeout: 2m, script: \"x\\n\"}, {name: t, script: y}]\n" +
		"jobs: [{name: j, scripts: [s, t], shell: {command: x}}]\n"))
	f.Add([]byte("a: &a [x,x]\nb: &b [*a,*a]\njobs: *b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeManifest(data)
		if err != nil {
			if CodeOf(err) != Invalid {
				t.Fatalf("%q: code %s", data, CodeOf(err))
			}
			return
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeManifest(out)
		if err != nil {
			t.Fatalf("what was accepted is refused when written out: %v\n%s", err, out)
		}
		if diff := cmp.Diff(m, again); diff != "" {
			t.Fatal(diff)
		}
	})
}
