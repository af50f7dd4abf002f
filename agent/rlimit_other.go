//go:build !linux

package agent

import (
	"errors"

	"crony"
)

// rlimit would be a limit of a run's processes. None is set here.
type rlimit struct{}

// rlimitsOf refuses what asks for limits.
func (*runner) rlimitsOf(shell *crony.Shell) ([]rlimit, error) {
	if shell.Rlimits != nil {
		return nil, errors.New("its rlimits: not supported yet on this platform")
	}
	return nil, nil
}

func (*process) beyond(string) string   { return "" }
func (*process) beyondBelow(int) string { return "" }

// Launch does nothing here: no run is started so.
func Launch([]string) (failed bool) { return false }
