package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"crony"
	"crony/internal/durable"
	"crony/internal/pki"
	"crony/sdk"
)

// JoinOptions say how a host becomes an agent of a cluster.
type JoinOptions struct {
	Dir     string // of the agent, made if need be
	Name    string // for people; the host's name if empty
	Address string // of any server, as its people reach it: https://HOST:PORT
	Token   string // a join token for agents
}

// Join makes this host an agent of a cluster, and returns the cluster's id. Nothing runs yet. Nothing is left of a join that
// fails, but the key: the same token may be used again with it. Conflict if the directory is an agent's already.
func Join(ctx context.Context, opts JoinOptions) (cluster string, err error) {
	secret, err := crony.ParseJoinSecret(opts.Token)
	switch {
	case err != nil:
		return "", err
	case secret.For != crony.JoinAgent:
		return "", crony.Errorf(crony.Invalid, "this join token is for servers").
			WithHint("make one with `crony token create --for agent`")
	}
	id := &identity{dir: opts.Dir}
	if _, err := os.Stat(id.path(leafFile)); !errors.Is(err, fs.ErrNotExist) {
		return "", crony.Errorf(crony.Conflict, "%s is an agent's already", opts.Dir).
			WithHint("`crony-agent run` starts it; to join anew, stop it and empty the directory first")
	}
	request, key, err := id.joinKey()
	if err != nil {
		return "", err
	}
	name := opts.Name
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return "", fmt.Errorf("ask for the host's name: %w", err)
		}
	}
	answer, err := sdk.Join(ctx, opts.Address, opts.Token, crony.JoinRequest{Request: string(request), Name: name})
	if err != nil {
		return "", err
	}
	leaf, err := pki.NewLeaf([]byte(answer.Certificate), key)
	if err != nil {
		return "", fmt.Errorf("read the cluster's answer: %w", err)
	}
	if err := MoveIn(opts.Dir, []byte(answer.Authorities), leaf, answer.Servers); err != nil {
		return "", err
	}
	return answer.Cluster, os.Remove(id.path(keyFile))
}

// joinKey makes the key with which the host joins, or reads the one of a join of before, and a certificate request for it.
func (i *identity) joinKey() (request, key []byte, err error) {
	if err := i.makeDir(); err != nil {
		return nil, nil, err
	}
	if key, err = os.ReadFile(i.path(keyFile)); err == nil {
		if request, err = pki.RequestFor(key); err == nil {
			return request, key, nil
		}
	}
	if request, key, err = pki.NewRequest(); err != nil {
		return nil, nil, err
	}
	if err := durable.WriteFile(i.path(keyFile), key, 0o600); err != nil {
		return nil, nil, fmt.Errorf("keep the host's key: %w", err)
	}
	return request, key, nil
}
