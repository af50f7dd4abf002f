package agent

import "os/user"

// account is the user that the processes of a run are of.
type account struct {
	name, home string
	switches   *credential // what it takes to become that user; nil if the agent is
}

// ownAccount returns the agent's own user.
func ownAccount() *account {
	own, err := user.Current()
	if err != nil {
		return &account{} // a container need not know who its processes are of
	}
	return &account{name: own.Username, home: own.HomeDir}
}
