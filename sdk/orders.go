package sdk

import (
	"context"
	"crypto/rand"
	"net/http"
	"time"

	"crony"
)

// startTries is how often an order is given that has no answer, and startPause the wait before the second time.
const (
	startTries = 3
	startPause = 100 * time.Millisecond
)

// StartJob implements [crony.Jobs]. An order that has no answer, or that can't be taken just now, is given again: it has a
// name, so that nothing is started twice.
func (c *Client) StartJob(ctx context.Context, name string, opts crony.StartOptions) ([]crony.RunID, error) {
	path, err := item("job", "/jobs/", name)
	if err != nil {
		return nil, err
	}
	if opts.Request == "" {
		opts.Request = rand.Text()
	}
	k := call{method: http.MethodPost, path: path + "/runs", bodyType: "application/json"}
	if k.body, err = encode(opts); err != nil {
		return nil, err
	}
	var started struct {
		Runs []crony.RunID `json:"runs"`
	}
	err = c.again(ctx, k, &started)
	return started.Runs, err
}

// again makes a call that changes no more when it is made again, until it has an answer.
func (c *Client) again(ctx context.Context, k call, into any) error {
	for try := 1; ; try++ {
		err := c.do(ctx, k, into)
		if crony.CodeOf(err) != crony.Unavailable || try == startTries || !wait(ctx, startPause<<(2*(try-1))) {
			return err
		}
	}
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// KillRun implements [crony.Runs].
func (c *Client) KillRun(ctx context.Context, id crony.RunID, reason string) error {
	_, err := c.Kill(ctx, id, reason)
	return err
}

// Kill is KillRun, and returns what the order waits for, in plain words; "" if the run's agent is connected.
func (c *Client) Kill(ctx context.Context, id crony.RunID, reason string) (waits string, err error) {
	path, err := item("run", "/runs/", string(id))
	if err != nil {
		return "", err
	}
	k := call{method: http.MethodPost, path: path + "/kill", bodyType: "application/json"}
	if k.body, err = encode(map[string]string{"reason": reason}); err != nil {
		return "", err
	}
	var accepted struct {
		Waits string `json:"waits"`
	}
	err = c.do(ctx, k, &accepted)
	return accepted.Waits, err
}

// HandleRun implements [crony.Runs]. What has no answer, or can't be done just now, is asked for again: it has a name, so that
// the answer tells whether it was this call that has done it.
func (c *Client) HandleRun(ctx context.Context, id crony.RunID, opts crony.HandleOptions) (crony.Handled, error) {
	path, err := item("run", "/runs/", string(id))
	if err != nil {
		return crony.Handled{}, err
	}
	if opts.Request == "" {
		opts.Request = rand.Text()
	}
	k := call{method: http.MethodPost, path: path + "/handled", bodyType: "application/json"}
	if k.body, err = encode(opts); err != nil {
		return crony.Handled{}, err
	}
	var handled crony.Handled
	err = c.again(ctx, k, &handled)
	return handled, err
}
