package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"crony"
)

// resultPath returns the file into which an attempt may write what it gives back, see [crony.ResultEnv].
func resultPath(dir string, run crony.RunID, attempt int) string {
	return outputPath(dir, run, attempt, "result")
}

// createResult makes the file, empty, for the process to write to: whoever is not the agent's user can make none beside it.
func createResult(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, readable)
	if err != nil {
		return err
	}
	return file.Close()
}

// removeResult removes whatever a process has made of its file.
func removeResult(path string) {
	os.RemoveAll(path) //nolint:errcheck // the next start of the agent removes what is left
}

// errNoFile says that what is there is no file.
var errNoFile = errors.New("it is no file")

// readResult returns what an attempt gives back, nil if it gives nothing. The error says why what is there does not count: the
// process may have put anything into the place of the file. What is no file is not opened, as that alone may wait for ever, or
// set a device going; and a link is not followed.
func readResult(path string) (json.RawMessage, error) {
	file, err := openResult(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, errNoFile):
		return nil, err
	case err != nil:
		return nil, unreadable(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, crony.MaxResult+1))
	switch {
	case err != nil:
		return nil, unreadable(err)
	case len(bytes.TrimSpace(data)) == 0:
		return nil, nil
	}
	return crony.CheckResult(data)
}

// unreadable says that a file can't be read, and not where it is.
func unreadable(err error) error {
	if place := (*os.PathError)(nil); errors.As(err, &place) {
		err = place.Err
	}
	return fmt.Errorf("it can't be read: %w", err)
}

// giveResult writes down what an attempt gives back that will not be tried again, and removes its file. It returns the run's
// reason, and why what is there does not count, if it does not.
func (r *runner) giveResult(run crony.RunID, attempt int, reason string) string {
	path := resultPath(r.dir, run, attempt)
	data, err := readResult(path)
	if err == nil && data != nil {
		r.keep(entry{Fact: &crony.Fact{Run: run, At: r.now().UTC(), Result: &crony.ResultFact{Attempt: attempt, Data: data}}})
	}
	removeResult(path)
	if err == nil {
		return reason
	}
	return also(reason, "its result does not count: "+err.Error())
}

// also adds to a reason.
func also(reason, more string) string {
	if reason == "" {
		return more
	}
	return reason + "; " + more
}
