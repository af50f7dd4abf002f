//go:build unix

package agent

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// credential is what it takes to become another user.
type credential = syscall.Credential

// accountOf returns the user of a name or number; the agent's own for "".
func accountOf(name string) (*account, error) {
	if name == "" {
		return ownAccount(), nil
	}
	u, err := user.Lookup(name)
	if errors.As(err, new(user.UnknownUserError)) {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return nil, fmt.Errorf("its user: this host has no user %q", name)
	}
	a := &account{name: u.Username, home: u.HomeDir}
	if u.Uid == strconv.Itoa(os.Geteuid()) {
		return a, nil
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("its user: only an agent that runs as root can start what is to run as %s", a.name)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("its user: look up the groups of %s: %w", a.name, err)
	}
	a.switches = &credential{}
	ids := make([]uint32, 0, len(groups)+2)
	for _, text := range append([]string{u.Uid, u.Gid}, groups...) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("its user: %s has an id that is no number: %w", a.name, err)
		}
		ids = append(ids, uint32(id))
	}
	a.switches.Uid, a.switches.Gid, a.switches.Groups = ids[0], ids[1], ids[2:]
	return a, nil
}

// own gives the account an open file, so that its processes can open it anew. The agent's own has it already.
func (a *account) own(fd int) error {
	if a.switches == nil {
		return nil
	}
	return unix.Fchown(fd, int(a.switches.Uid), int(a.switches.Gid))
}
