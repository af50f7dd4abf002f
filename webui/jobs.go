package webui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"crony"
	"crony/webui/api"
)

// ListJobs returns a page of jobs, each with its newest run.
func (r rest) ListJobs(ctx context.Context, req api.ListJobsRequestObject) (api.ListJobsResponseObject, error) {
	limit, err := pageLimit(req.Params.Limit)
	if err != nil {
		return nil, err
	}
	page, err := r.opts.Jobs.ListJobs(ctx, crony.JobQuery{
		Search: deref(req.Params.Q), Group: deref(req.Params.Group), Agent: deref(req.Params.Agent), Limit: limit, Cursor: deref(req.Params.Cursor),
	})
	if err != nil {
		return nil, err
	}
	items := make([]crony.JobStatus, len(page.Items)) // never null
	for i, job := range page.Items {
		items[i] = r.withLastRun(job)
	}
	return api.ListJobs200JSONResponse{Items: items, Next: page.Next}, nil
}

// GetJob returns one job.
func (r rest) GetJob(ctx context.Context, req api.GetJobRequestObject) (api.GetJobResponseObject, error) {
	job, err := r.opts.Jobs.Job(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	etag := etagOf(job)
	return api.GetJob200JSONResponse{Body: r.withLastRun(job), Headers: api.GetJob200ResponseHeaders{ETag: &etag}}, nil
}

// PutJob defines a job, which has been checked.
func (r rest) PutJob(ctx context.Context, req api.PutJobRequestObject) (api.PutJobResponseObject, error) {
	if req.Body.Name != req.Name {
		return nil, invalid(crony.Fault{Path: "name", Message: fmt.Sprintf("%q is not the name in the path", req.Body.Name),
			Hint: "a job can't be renamed; define another and delete this one"})
	}
	generation, err := r.precondition(ctx, req.Name, req.Params)
	if err != nil {
		return nil, err
	}
	_, err = r.opts.Jobs.Define(ctx, crony.Manifest{Jobs: []crony.Job{*req.Body}}, crony.ApplyOptions{IfGeneration: generation})
	err = ofOneJob(err)
	if generation != nil && crony.CodeOf(err) == crony.Conflict {
		return nil, withStatus(http.StatusPreconditionFailed, err)
	}
	if err != nil {
		return nil, err
	}
	job, err := r.opts.Jobs.Job(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	etag := etagOf(job)
	return api.PutJob200JSONResponse{Body: r.withLastRun(job), Headers: api.PutJob200ResponseHeaders{ETag: &etag}}, nil
}

// ofOneJob takes the manifest out of the paths of an error's faults: the caller gave the job alone.
func ofOneJob(err error) error {
	e, ok := errors.AsType[*crony.Error](err)
	if !ok || len(e.Faults) == 0 {
		return err
	}
	alone := *e
	alone.Faults = slices.Clone(e.Faults)
	for i := range alone.Faults {
		alone.Faults[i].Path = strings.TrimPrefix(alone.Faults[i].Path, "jobs[0].")
	}
	return &alone
}

// DeleteJob removes a job.
func (r rest) DeleteJob(ctx context.Context, req api.DeleteJobRequestObject) (api.DeleteJobResponseObject, error) {
	if err := r.opts.Jobs.DeleteJob(ctx, req.Name); err != nil {
		return nil, err
	}
	return api.DeleteJob204Response{}, nil
}

// PauseJob stops a job's schedule.
func (r rest) PauseJob(ctx context.Context, req api.PauseJobRequestObject) (api.PauseJobResponseObject, error) {
	job, err := r.opts.Jobs.PauseJob(ctx, req.Name, true)
	if err != nil {
		return nil, err
	}
	return api.PauseJob200JSONResponse(r.withLastRun(job)), nil
}

// ResumeJob lets a job's schedule go on.
func (r rest) ResumeJob(ctx context.Context, req api.ResumeJobRequestObject) (api.ResumeJobResponseObject, error) {
	job, err := r.opts.Jobs.PauseJob(ctx, req.Name, false)
	if err != nil {
		return nil, err
	}
	return api.ResumeJob200JSONResponse(r.withLastRun(job)), nil
}

// StartJob orders a run now.
func (r rest) StartJob(ctx context.Context, req api.StartJobRequestObject) (api.StartJobResponseObject, error) {
	id, err := r.opts.Jobs.StartJob(ctx, req.Name)
	if err != nil {
		return nil, err
	}
	return api.StartJob202JSONResponse{Id: string(id)}, nil
}

// ApplyManifest defines all that a manifest holds, or nothing.
func (r rest) ApplyManifest(
	ctx context.Context, req api.ApplyManifestRequestObject,
) (api.ApplyManifestResponseObject, error) {
	data, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	manifest, err := crony.DecodeManifest(data)
	if err != nil {
		return nil, err
	}
	applied, err := r.opts.Jobs.Define(ctx, manifest, crony.ApplyOptions{DryRun: deref(req.Params.DryRun)})
	if err != nil {
		return nil, err
	}
	return api.ApplyManifest200JSONResponse{
		Calendars: ofKind(applied, crony.KindCalendar), Jobs: ofKind(applied, crony.KindJob),
	}, nil
}

// ofKind picks what is of a kind; the answer is never null.
func ofKind(applied []crony.Applied, kind crony.Kind) []crony.Applied {
	picked := []crony.Applied{}
	for _, a := range applied {
		if a.Kind == kind {
			picked = append(picked, a)
		}
	}
	return picked
}

func (r rest) withLastRun(job crony.JobStatus) crony.JobStatus {
	if run, ok := r.opts.LastRun(job.Job.Name); ok {
		job.LastRun = &run
	}
	return job
}

// etagOf names the definition alone: where the job is placed and how it ran changes without a new one.
func etagOf(job crony.JobStatus) string { return strconv.Quote(strconv.FormatInt(job.Generation, 10)) }

// precondition returns the generation that the request demands; nil if it demands none.
func (r rest) precondition(ctx context.Context, name string, params api.PutJobParams) (*int64, error) {
	switch {
	case params.IfMatch != nil && params.IfNoneMatch != nil:
		return nil, crony.Errorf(crony.Invalid, "If-Match and If-None-Match exclude each other")
	case params.IfNoneMatch != nil && *params.IfNoneMatch != "*":
		return nil, crony.Errorf(crony.Invalid, "this If-None-Match is not understood").WithHint("only * is, for a new job")
	case params.IfNoneMatch != nil:
		return new(int64), nil
	case params.IfMatch == nil:
		return nil, nil
	case *params.IfMatch == "*":
		return r.standing(ctx, name)
	}
	text, ok := strings.CutPrefix(*params.IfMatch, `"`)
	text, closed := strings.CutSuffix(text, `"`)
	generation, err := strconv.ParseInt(text, 10, 64)
	if !ok || !closed || err != nil || generation < 1 {
		return nil, crony.Errorf(crony.Invalid, "this If-Match is not understood").WithHint("send one ETag as it was received")
	}
	return &generation, nil
}

// standing demands that the job exists, by demanding the generation that it has.
func (r rest) standing(ctx context.Context, name string) (*int64, error) {
	job, err := r.opts.Jobs.Job(ctx, name)
	if crony.CodeOf(err) == crony.NotFound {
		return nil, withStatus(http.StatusPreconditionFailed, crony.Errorf(crony.Conflict, "there is no job %q", name))
	}
	if err != nil {
		return nil, err
	}
	return &job.Generation, nil
}

// pageLimit holds a page's size against its bounds; 0, the default's sign elsewhere, is no size here.
func pageLimit(given *int) (int, error) {
	if given != nil && *given == 0 {
		return crony.PageLimit(-1)
	}
	return crony.PageLimit(deref(given))
}

// deref returns what p points to; the zero value for nil.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
