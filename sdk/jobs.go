package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"crony"
)

// Apply defines everything in a manifest (YAML or JSON) or, if anything can't be, nothing, and says of each what was done:
// calendars first, then jobs. The bytes are sent as they are, so that the lines in an error's faults are the lines of the
// caller's file.
func (c *Client) Apply(ctx context.Context, manifest []byte, dryRun bool) ([]crony.Applied, error) {
	k := call{method: http.MethodPost, path: "/apply", body: manifest, bodyType: "application/yaml"}
	if dryRun {
		k.query = url.Values{"dry_run": {"true"}}
	}
	var answer struct {
		Calendars []crony.Applied `json:"calendars"`
		Jobs      []crony.Applied `json:"jobs"`
	}
	if err := c.do(ctx, k, &answer); err != nil {
		return nil, err
	}
	return append(answer.Calendars, answer.Jobs...), nil
}

// Define implements [crony.Jobs].
func (c *Client) Define(ctx context.Context, m crony.Manifest, opts crony.ApplyOptions) ([]crony.Applied, error) {
	switch {
	case len(m.Jobs)+len(m.Calendars) == 0:
		return nil, nil
	case opts.IfGeneration != nil && len(m.Calendars) > 0:
		return nil, crony.Errorf(crony.Invalid, "a generation is the condition of one job, not of calendars")
	case opts.IfGeneration != nil && len(m.Jobs) > 1:
		return nil, crony.Errorf(crony.Invalid, "a generation is the condition of one job, not of %d", len(m.Jobs))
	case opts.IfGeneration != nil && !opts.DryRun:
		return c.applyIf(ctx, m.Jobs[0], *opts.IfGeneration)
	case opts.IfGeneration != nil:
		if err := c.checkGeneration(ctx, m.Jobs[0].Name, *opts.IfGeneration); err != nil {
			return nil, err
		}
	}
	manifest, err := encode(m)
	if err != nil {
		return nil, err
	}
	return c.Apply(ctx, manifest, opts.DryRun)
}

// applyIf defines a job if its generation is still the one given.
func (c *Client) applyIf(ctx context.Context, job crony.Job, generation int64) ([]crony.Applied, error) {
	path, err := item("job", "/jobs/", job.Name)
	if err != nil {
		return nil, err
	}
	k := call{method: http.MethodPut, path: path, bodyType: "application/json", header: http.Header{}}
	if k.body, err = encode(job); err != nil {
		return nil, err
	}
	action := crony.Created
	if generation == 0 {
		k.header.Set("If-None-Match", "*")
	} else {
		action = crony.Updated
		k.header.Set("If-Match", strconv.Quote(strconv.FormatInt(generation, 10)))
	}
	var status crony.JobStatus
	if err := c.do(ctx, k, &status); err != nil {
		return nil, err
	}
	if status.Generation == generation {
		action = crony.Unchanged
	}
	return []crony.Applied{{Kind: crony.KindJob, Name: job.Name, Action: action, Generation: status.Generation}}, nil
}

// checkGeneration is the condition of a dry run, for which the API has none: since nothing is written, nothing is lost by
// looking first.
func (c *Client) checkGeneration(ctx context.Context, name string, generation int64) error {
	status, err := c.Job(ctx, name)
	if err != nil && crony.CodeOf(err) != crony.NotFound {
		return err
	}
	if status.Generation != generation {
		return crony.Errorf(crony.Conflict, "job %q is at generation %d, not %d", name, status.Generation, generation).
			WithHint("read it again")
	}
	return nil
}

// encode writes v as JSON that reads the same as YAML: what YAML forbids or folds inside quotes, though JSON does not, is
// escaped. It is indented, so that a fault's line tells something.
func encode(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the definition: %w", err)
	}
	var b bytes.Buffer
	b.Grow(len(data))
	for _, r := range string(data) {
		if 0x7f <= r && r <= 0x9f || r == 0xfeff || r == 0xfffe || r == 0xffff {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.Bytes(), nil
}

// Job implements [crony.Jobs].
func (c *Client) Job(ctx context.Context, name string) (crony.JobStatus, error) {
	return c.job(ctx, http.MethodGet, name, "")
}

// PauseJob implements [crony.Jobs].
func (c *Client) PauseJob(ctx context.Context, name string, paused bool) (crony.JobStatus, error) {
	if paused {
		return c.job(ctx, http.MethodPost, name, "/pause")
	}
	return c.job(ctx, http.MethodPost, name, "/resume")
}

func (c *Client) job(ctx context.Context, method, name, below string) (crony.JobStatus, error) {
	path, err := item("job", "/jobs/", name)
	if err != nil {
		return crony.JobStatus{}, err
	}
	var status crony.JobStatus
	if err := c.do(ctx, call{method: method, path: path + below}, &status); err != nil {
		return crony.JobStatus{}, err
	}
	return status, nil
}

// ListJobs implements [crony.Jobs].
func (c *Client) ListJobs(ctx context.Context, q crony.JobQuery) (crony.JobPage, error) {
	query := page(q.Limit, q.Cursor)
	set(query, "q", q.Search)
	set(query, "group", q.Group)
	set(query, "agent", q.Agent)
	var jobs crony.JobPage
	if err := c.do(ctx, call{method: http.MethodGet, path: "/jobs", query: query}, &jobs); err != nil {
		return crony.JobPage{}, err
	}
	return jobs, nil
}

// DeleteJob implements [crony.Jobs].
func (c *Client) DeleteJob(ctx context.Context, name string) error {
	path, err := item("job", "/jobs/", name)
	if err != nil {
		return err
	}
	return c.do(ctx, call{method: http.MethodDelete, path: path}, nil)
}

// StartJob implements [crony.Jobs].
func (c *Client) StartJob(ctx context.Context, name string) (crony.RunID, error) {
	path, err := item("job", "/jobs/", name)
	if err != nil {
		return "", err
	}
	var started struct {
		ID crony.RunID `json:"id"`
	}
	if err := c.do(ctx, call{method: http.MethodPost, path: path + "/runs"}, &started); err != nil {
		return "", err
	}
	return started.ID, nil
}

// item returns the path of one thing. What would be another path, and so can be no thing's name, is NotFound at once.
func item(noun, above, name string) (string, error) {
	if name == "" || name == "." || name == ".." {
		return "", crony.Errorf(crony.NotFound, "there is no %s %q", noun, name)
	}
	return above + url.PathEscape(name), nil
}

func page(limit int, cursor string) url.Values {
	query := url.Values{}
	if limit != 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	set(query, "cursor", cursor)
	return query
}

func set(query url.Values, key, value string) {
	if value != "" {
		query.Set(key, value)
	}
}
