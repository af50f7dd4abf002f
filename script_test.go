package crony

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestScriptsOfAManifest reads a script and the job that names it, as people write them.
func TestScriptsOfAManifest(t *testing.T) {
	m, err := DecodeManifest([]byte(`jobs:
  - name: nightly-report
    scripts: [install-report-tools]
    shell: {command: report}
scripts:
  - name: install-report-tools
    interpreter: /bin/sh
    timeout: 2m
    script: |
      command -v report >/dev/null || apt-get install -y report-tools
  - {name: short, script: x}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Script{Name: "install-report-tools", Interpreter: "/bin/sh", Timeout: Duration(2 * time.Minute),
		Script: "command -v report >/dev/null || apt-get install -y report-tools\n"}
	if diff := cmp.Diff(want, m.Scripts[0]); diff != "" {
		t.Error(diff)
	}
	if a, b := m.Scripts[0].Limit(), m.Scripts[1].Limit(); a != 2*time.Minute || b != 5*time.Minute {
		t.Errorf("they may run %s and %s", a, b)
	}
}

// TestScriptsOfADefinition holds that a definition has the scripts that its job names.
func TestScriptsOfADefinition(t *testing.T) {
	d := Definition{Job: Job{Name: "j", Scripts: []string{"a", "b"}}, Scripts: []Script{{Name: "a"}, {Name: "c"}}}
	faults := d.Faults()
	if len(faults) != 1 || faults[0].Path != "scripts[1]" || faults[0].Message != `there is no script "b"` || faults[0].Hint == "" {
		t.Errorf("%+v", faults)
	}
}

// TestForgo holds that a job which can't run gives up what is missed and no more, whatever its policy.
func TestForgo(t *testing.T) {
	for _, policy := range []MisfirePolicy{"", MisfireSkip, MisfireOnce, MisfireAll} {
		d := Definition{Job: Job{Name: "j", Schedule: "*/5 * * * * *", Misfire: &Misfire{Policy: policy}}}
		plan := d.Plan()
		cursor := time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
		if got := plan.Forgo(cursor, cursor.Add(15*time.Second-1), "why"); !got.Until.IsZero() || !got.At.Equal(cursor.Add(5*time.Second)) {
			t.Errorf("%s: while nothing is missed: %+v", policy, got)
		}
		got := plan.Forgo(cursor, cursor.Add(time.Hour), "why")
		if want := cursor.Add(time.Hour - MisfireGrace); !got.Until.Equal(want) || got.Reason != "why" {
			t.Errorf("%s: after an hour: %+v, want up to %s", policy, got, want)
		}
	}
	if got := (&Definition{Job: Job{Name: "j", Schedule: "@at 2020-01-01T00:00:00Z"}}).Plan().Forgo(time.Now(), time.Now(), "why"); got != (Step{}) {
		t.Errorf("a job that is never due: %+v", got)
	}
}
