package webui

import (
	"slices"
	"strings"
	"time"

	"crony"
	"crony/webui/api"
)

// selection is the parameters that say which runs a request is about, as they are given.
type selection struct {
	job, agent, group *string
	state             *crony.RunState
	trigger           *crony.Trigger
	labels            *[]string
	from, to          *string
	longer, shorter   *string
	toHandle          *bool
}

// query reads the selection. What can't be right is refused, with the name of its parameter.
func (s *selection) query() (q crony.RunQuery, err error) {
	q = crony.RunQuery{
		Job: deref(s.job), Agent: deref(s.agent), Group: deref(s.group), State: deref(s.state), Trigger: deref(s.trigger),
		ToHandle: deref(s.toHandle),
	}
	if err = oneOf("state", string(q.State), q.State.Allowed()); err != nil {
		return q, err
	}
	if err = oneOf("trigger", string(q.Trigger), q.Trigger.Allowed()); err != nil {
		return q, err
	}
	if q.Labels, err = labels("label", deref(s.labels)); err != nil {
		return q, err
	}
	if q.From, q.To, err = span(s.from, s.to); err != nil {
		return q, err
	}
	if q.Longer, err = duration("longer", s.longer); err != nil {
		return q, err
	}
	q.Shorter, err = duration("shorter", s.shorter)
	return q, err
}

func oneOf(key, word string, allowed []string) error {
	if word == "" || slices.Contains(allowed, word) {
		return nil
	}
	return crony.Errorf(crony.Invalid, "%s: %.40q is not known", key, word).WithHint("one of: %s", strings.Join(allowed, ", "))
}

// labels reads pairs of a key and a value.
func labels(key string, pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, crony.Errorf(crony.Invalid, "%s: %.60q is not a label and its value", key, pair).
				WithHint("write it as key=value")
		}
		if other, twice := m[name]; twice && other != value {
			return nil, crony.Errorf(crony.Invalid, "%s: no job has two values of %.60q", key, name).WithHint("give one of them")
		}
		m[name] = value
	}
	return m, nil
}

// duration reads a length of time; 0 if it is not given.
func duration(key string, given *string) (time.Duration, error) {
	if given == nil {
		return 0, nil
	}
	d, err := crony.ParseDuration(*given)
	if err != nil || d == 0 {
		return 0, crony.Errorf(crony.Invalid, "%s: %.40q is not a length of time", key, *given).
			WithHint("write one like 90s, 1h30m or 2d")
	}
	return d.Std(), nil
}

// selectionOf returns the selection of a list.
func selectionOf(p *api.ListRunsParams) selection {
	return selection{
		job: p.Job, agent: p.Agent, group: p.Group, state: p.State, trigger: p.Trigger, labels: p.Label,
		from: p.From, to: p.To, longer: p.Longer, shorter: p.Shorter, toHandle: p.ToHandle,
	}
}

// outputSelectionOf returns the selection of a search.
func outputSelectionOf(p *api.SearchOutputParams) selection {
	return selection{
		job: p.Job, agent: p.Agent, group: p.Group, state: p.State, trigger: p.Trigger, labels: p.Label,
		from: p.From, to: p.To, longer: p.Longer, shorter: p.Shorter, toHandle: p.ToHandle,
	}
}
