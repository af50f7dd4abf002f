package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"crony"
	"crony/appliance/peers"
	"crony/embedded/member"
	"crony/internal/durable"
	"crony/internal/pki"
	"crony/sdk"
)

// JoinOptions say how a host becomes a server of a cluster.
type JoinOptions struct {
	Dir     string // of the server's data: made if need be, and empty
	Name    string // of the server, for people
	Address string // of any server, as its people reach it: https://HOST:PORT
	Token   string // a join token for servers
	Replace string // the id or name of a server that is dead, and removed first; "" for none
}

// Join makes this host a server of a cluster. The server is not running yet; when it is started, it is admitted, copies the
// store, and gets its vote. Nothing is left of a run that fails, but the key: the same token may be used again with it.
func Join(ctx context.Context, opts JoinOptions) (cluster string, err error) {
	secret, err := crony.ParseJoinSecret(opts.Token)
	switch {
	case err != nil:
		return "", err
	case secret.For != crony.JoinServer:
		return "", crony.Errorf(crony.Invalid, "this join token is for agents").
			WithHint("make one with `crony token create --for server`")
	}
	if err := clearFor(opts.Dir); err != nil {
		return "", err
	}
	dir := filepath.Join(opts.Dir, pkiDir)
	request, key, err := joinKey(dir)
	if err != nil {
		return "", err
	}
	answer, err := sdk.Join(ctx, opts.Address, opts.Token, crony.JoinRequest{
		Request: string(request), Name: opts.Name, Replace: opts.Replace})
	if err != nil {
		return "", err
	}
	if err := moveIn(opts, answer, key); err != nil {
		return "", err
	}
	return answer.Cluster, nil
}

// keyFile is where a host that joins keeps its key until it has a certificate: if the answer is lost, the same key asks again.
const keyFile = "join.pem"

// joinKey makes the host's key, or reads the one of a run of before, and a certificate request for it.
func joinKey(dir string) (request, key []byte, err error) {
	if err := makeDir(dir); err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, keyFile)
	if key, err = os.ReadFile(path); err == nil {
		if request, err = pki.RequestFor(key); err == nil {
			return request, key, nil
		}
	}
	if request, key, err = pki.NewRequest(); err != nil {
		return nil, nil, err
	}
	if err := durable.WriteFile(path, key, 0o600); err != nil {
		return nil, nil, fmt.Errorf("keep the host's key: %w", err)
	}
	return request, key, nil
}

// moveIn writes what the cluster has given; the file that makes the directory a server's comes last.
func moveIn(opts JoinOptions, answer crony.JoinAnswer, key []byte) error {
	dir := filepath.Join(opts.Dir, pkiDir)
	seal, err := pki.ParseSealKey(answer.SealKey)
	if err != nil {
		return fmt.Errorf("read the cluster's answer: %w", err)
	}
	leaf, err := pki.NewLeaf([]byte(answer.Certificate), key)
	if err != nil {
		return fmt.Errorf("read the cluster's answer: %w", err)
	}
	if err := seal.Save(filepath.Join(dir, sealFile)); err != nil {
		return err
	}
	if err := durable.WriteFile(filepath.Join(dir, bundleFile), []byte(answer.Authorities), 0o644); err != nil {
		return fmt.Errorf("write the authorities' certificates: %w", err)
	}
	if err := leaf.Save(filepath.Join(dir, leafFile)); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(opts.Dir, joinFile), joining{Servers: answer.Servers}); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(opts.Dir, serverFile), settings{Name: opts.Name}); err != nil {
		return err
	}
	return os.Remove(filepath.Join(dir, keyFile))
}

// admitted asks the servers of a cluster, one after the other and for as long as ctx lasts, to admit this one, and returns the
// members of the store.
func admitted(ctx context.Context, servers []string, own string, calls *peers.Client, log *slog.Logger) (peers.Admission, error) {
	for wait := time.Second; ; wait = min(2*wait, 10*time.Second) {
		var last error
		for _, address := range servers {
			admission, err := calls.Admit(ctx, address, own)
			switch crony.CodeOf(err) {
			case "":
				return admission, nil
			case crony.Forbidden:
				return peers.Admission{}, err
			}
			last = err
		}
		log.Warn("not admitted yet; trying again", "err", last, "retry", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return peers.Admission{}, fmt.Errorf("wait to be admitted: %w", last)
		}
	}
}

// memberAddresses are the members of an admission as the store wants them.
func memberAddresses(a peers.Admission) []member.Address {
	list := make([]member.Address, len(a.Members))
	for i, m := range a.Members {
		list[i] = member.Address{Server: m.GetServer(), Address: m.GetAddress()}
	}
	return list
}
