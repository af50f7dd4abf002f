package crony

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"crony/internal/strict"
)

// Manifest is a document of definitions, applied as a whole.
type Manifest struct {
	Jobs      []Job      `json:"jobs,omitempty"`
	Scripts   []Script   `json:"scripts,omitempty"`
	Calendars []Calendar `json:"calendars,omitempty"`
	Channels  []Channel  `json:"channels,omitempty"`
}

// Channel is a way to tell people; exactly one of its kinds is set.
type Channel struct {
	Name    string         `json:"name"`
	Email   *EmailChannel  `json:"email,omitempty"`
	Webhook *HookChannel   `json:"webhook,omitempty"`
	Feishu  *FeishuChannel `json:"feishu,omitempty"`
}

// EmailChannel sends mail.
type EmailChannel struct {
	To []string `json:"to"`
}

// HookChannel posts JSON.
type HookChannel struct {
	URL string `json:"url"`
}

// FeishuChannel posts a card to a Feishu bot, whose address is a secret.
type FeishuChannel struct {
	URLSecret string `json:"url_secret"`
}

// DecodeManifest reads a manifest from YAML or JSON and checks everything in it. The error is an [Error] of code Invalid
// that lists every fault with its line; what has a fault is not returned by halves.
func DecodeManifest(data []byte) (Manifest, error) {
	var m Manifest
	lines, faults := strict.Decode(data, &m)
	if err := invalid("the manifest", withValues(lines, faults, m.Faults())); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// DecodeJob reads one job from JSON, with the same checks.
func DecodeJob(data []byte) (Job, error) {
	var j Job
	lines, faults := strict.Decode(data, &j)
	if err := invalid("the job", withValues(lines, faults, j.Faults())); err != nil {
		return Job{}, err
	}
	return j, nil
}

// withValues joins the faults of a document's form with those of its values. A value that is wrong only because something
// in it, or it itself, was not understood is left out.
func withValues(lines strict.Lines, form, values []Fault) []Fault {
	all := slices.Clone(form)
	for _, v := range values {
		if !slices.ContainsFunc(form, func(f Fault) bool { return within(f.Path, v.Path) || within(v.Path, f.Path) }) {
			all = append(all, v)
		}
	}
	lines.Locate(all)
	slices.SortStableFunc(all, func(a, b Fault) int { return a.Line - b.Line })
	return all
}

// within says whether a path is another or lies below it; everything lies below the document itself.
func within(path, above string) bool {
	rest, ok := strings.CutPrefix(path, above)
	return ok && (rest == "" || above == "" || rest[0] == '.' || rest[0] == '[')
}

// Faults lists what is wrong with the manifest; none if it may be applied.
func (m *Manifest) Faults() []Fault {
	var c checker
	if len(m.Jobs)+len(m.Scripts)+len(m.Calendars)+len(m.Channels) == 0 {
		c.fault("", "write at least one job under `jobs:`", "the manifest defines nothing")
	}
	known, once := compileAll(m.Calendars, time.LoadLocation), c.once("jobs")
	for i := range m.Jobs {
		at := fmt.Sprintf("jobs[%d].", i)
		c.job(at, &m.Jobs[i])
		c.together(at, &m.Jobs[i], known)
		once(i, m.Jobs[i].Name)
	}
	once = c.once("calendars")
	for i := range m.Calendars {
		c.calendar(fmt.Sprintf("calendars[%d].", i), &m.Calendars[i])
		once(i, m.Calendars[i].Name)
	}
	once = c.once("scripts")
	for i := range m.Scripts {
		c.script(fmt.Sprintf("scripts[%d].", i), &m.Scripts[i])
		once(i, m.Scripts[i].Name)
	}
	c.later("channels", len(m.Channels) > 0)
	return c.faults
}

// Faults lists what is wrong with the job; none if it may be defined.
func (j *Job) Faults() []Fault {
	var c checker
	c.job("", j)
	return c.faults
}

// checker collects the faults of values that were decoded well.
type checker struct{ faults []Fault }

func (c *checker) fault(path, hint, format string, args ...any) {
	c.faults = append(c.faults, Fault{Path: path, Hint: hint, Message: fmt.Sprintf(format, args...)})
}

// once returns what refuses a name that an earlier item of a list has.
func (c *checker) once(list string) func(i int, name string) {
	first := map[string]int{}
	return func(i int, name string) {
		if before, twice := first[name]; twice && name != "" {
			c.fault(fmt.Sprintf("%s[%d].name", list, i), "", "%s[%d] has the name %q too", list, before, name)
			return
		}
		first[name] = i
	}
}

// later refuses a key that crony does not serve yet. The list of what is refused so is the list of the calls.
func (c *checker) later(path string, given bool) {
	if given {
		key := path[strings.LastIndexByte(path, '.')+1:]
		c.fault(path, "", "not supported yet: %s", key)
	}
}
