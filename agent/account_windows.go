package agent

import (
	"errors"
	"strings"
)

// credential would be what it takes to become another user: that takes their password here, which no job is to hold.
type credential struct{}

// accountOf returns the agent's own user, for its name or "".
func accountOf(name string) (*account, error) {
	own := ownAccount()
	if name == "" || strings.EqualFold(name, own.name) {
		return own, nil
	}
	return nil, errors.New("its user: an agent on Windows starts runs as its own user only")
}

// own has nothing to do: whose run it is, is the agent.
func (*account) own(int) error { return nil }
