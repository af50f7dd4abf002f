package member

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.uber.org/zap"

	"crony"
)

// hearsay is how long a member that was added may be unknown to another one that is asked: it hears of it from the leader.
const hearsay = 5 * time.Second

// admitted asks the members of the cluster that a new member is to join whether it may. etcd itself asks them too, but takes
// anybody who comes with the right address: also one that was a member before and has lost its data, and with it what it has
// promised. Such a one could undo what the cluster had decided.
func admitted(ctx context.Context, o Options, log *zap.Logger) error {
	transport, err := rafthttp.NewRoundTripper(o.Peer.tls(), 4*electionMillis*time.Millisecond)
	if err != nil {
		return fmt.Errorf("ask the members: %w", err)
	}
	if t, ok := transport.(*http.Transport); ok {
		defer t.CloseIdleConnections()
	}
	ctx, cancel := context.WithTimeout(ctx, hearsay)
	defer cancel()
	for {
		cluster, err := etcdserver.GetClusterFromRemotePeers(log, o.others(), transport)
		if err != nil {
			return &crony.Error{Code: crony.Unavailable, Message: "no server of the cluster answers at its address for servers",
				Err: err, Hint: "see that they are up, and that they are reached from here"}
		}
		members := cluster.Members()
		at := slices.IndexFunc(members, func(m *membership.Member) bool { return infoOf(m).Address == o.Peer.address() })
		if at >= 0 {
			return unheardOf(infoOf(members[at]))
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return crony.Errorf(crony.Conflict, "the cluster has no member at %s", o.Peer.address()).
				WithHint("ask to be admitted first")
		}
	}
}

// others are the URLs of the members that are there already, in the order in which etcd asks them.
func (o *Options) others() []string {
	var urls []string
	for i, m := range o.Members {
		if i != o.self() {
			urls = append(urls, "https://"+m.Address)
		}
	}
	slices.Sort(urls)
	return urls
}

// unheardOf returns nil if the member has never started.
func unheardOf(m Info) error {
	if m.Server == "" {
		return nil
	}
	return crony.Errorf(crony.Conflict, "%s was a member of the cluster already, as server %s, and its data is gone",
		m.Address, m.Server).
		WithHint("remove that server from the cluster, and join anew")
}
