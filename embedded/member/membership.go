package member

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/etcdserver/api/membership"
	etcderrors "go.etcd.io/etcd/server/v3/etcdserver/errors"

	"crony"
	"crony/internal/pki"
)

// Info is a member of the cluster.
type Info struct {
	ID      uint64
	Server  string // whose it is; "" until it has started once
	Address string // HOST:PORT at which the others reach it
	Learner bool   // it has no vote
}

// Members returns the members, as this one knows them: it answers without a quorum too.
func (m *Member) Members(context.Context) ([]Info, error) {
	list := make([]Info, 0, 3)
	for _, x := range m.etcd.Server.Cluster().Members() {
		list = append(list, infoOf(x))
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Address, b.Address) })
	return list, nil
}

func infoOf(m *membership.Member) Info {
	info := Info{ID: uint64(m.ID), Server: m.Name, Learner: m.IsLearner}
	if len(m.PeerURLs) > 0 {
		info.Address = strings.TrimPrefix(m.PeerURLs[0], "https://")
	}
	return info
}

// addWait is how long a change of the members waits until the cluster is well enough for it: etcd wants every member to have
// been connected for five seconds.
const addWait = 15 * time.Second

// Add makes room for one more member, at an address and without a vote. Conflict if another is still joining, or if too few of
// the others are up.
func (m *Member) Add(ctx context.Context, address string) error {
	return m.settle(ctx, "add a member", func(ctx context.Context) error {
		_, err := m.client.MemberAddAsLearner(ctx, []string{"https://" + address})
		return err
	})
}

// Remove removes a member for good; one that is gone already is no error.
func (m *Member) Remove(ctx context.Context, id uint64) error {
	return m.settle(ctx, "remove a member", func(ctx context.Context) error {
		_, err := m.client.MemberRemove(ctx, id)
		if says(err, rpctypes.ErrMemberNotFound) {
			err = nil
		}
		return err
	})
}

// Promote gives a learner its vote. Conflict while it has not caught up.
func (m *Member) Promote(ctx context.Context, id uint64) error {
	_, err := m.client.MemberPromote(ctx, id)
	return m.refused("give a member its vote", err)
}

// retryEvery is how often something is tried that is refused for the moment.
const retryEvery = 100 * time.Millisecond

// settle makes a change of the members, and tries it again for a while when the cluster is not well enough: right after
// another change it never is.
func (m *Member) settle(ctx context.Context, what string, change func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, addWait)
	defer cancel()
	for {
		err := change(ctx)
		if !says(err, rpctypes.ErrUnhealthy) {
			return m.refused(what, err)
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return m.refused(what, err)
		}
	}
}

// says compares an error with one of etcd's, which comes in several forms.
func says(err, want error) bool {
	return err != nil && (errors.Is(err, want) || strings.Contains(err.Error(), rpctypes.ErrorDesc(want)))
}

// refused says in crony's words why a change of the members was not made.
func (m *Member) refused(what string, err error) error {
	if err == nil {
		return nil
	}
	refusal := &crony.Error{Code: crony.Conflict, Err: err}
	switch {
	case says(err, rpctypes.ErrMemberLearnerNotReady):
		refusal.Message, refusal.Hint = "the server has not caught up yet", "it gets its vote by itself when it has"
	case says(err, rpctypes.ErrTooManyLearners):
		refusal.Message, refusal.Hint = "another server is joining", "wait until it has its vote, or remove it"
	case says(err, rpctypes.ErrPeerURLExist):
		refusal.Message, refusal.Hint = "another member has this address", "advertise another one"
	case says(err, rpctypes.ErrMemberNotLearner):
		refusal.Message = "the server has its vote already"
	case says(err, rpctypes.ErrUnhealthy):
		refusal.Message = "could not " + what + ": not all servers are up and well"
		refusal.Hint = "remove a server that is dead first, or join in its place with --replace"
	default:
		refusal.Code, refusal.Message = crony.Unavailable, "could not "+what+": "+err.Error()
		refusal.Hint = "most of the servers must be up and see each other"
	}
	return refusal
}

// Leading says whether this member leads, for all that it knows; it knows better within a second after it has been cut off.
func (m *Member) Leading() bool { return m.etcd.Server.Lead() == m.ID() && !m.stopped() }

func (m *Member) stopped() bool {
	select {
	case <-m.Done():
		return true
	default:
		return false
	}
}

const (
	transferTime = 5 * time.Second // for handing over the leadership
	attemptTime  = 2 * electionMillis * time.Millisecond
)

// Transfer makes another member lead. It is asked of the leading one.
func (m *Member) Transfer(ctx context.Context, to uint64) error {
	if !m.Leading() {
		return crony.Errorf(crony.Conflict, "this server does not lead").WithHint("ask the one that leads")
	}
	ctx, cancel := context.WithTimeout(ctx, transferTime)
	defer cancel()
	err := m.transfer(ctx, to)
	for errors.Is(err, etcderrors.ErrTimeoutLeaderTransfer) && ctx.Err() == nil && m.Leading() {
		err = m.transfer(ctx, to)
	}
	if err == nil || m.etcd.Server.Lead() == to {
		return nil
	}
	return &crony.Error{Code: crony.Conflict, Message: "the leadership could not be handed over: " + err.Error(), Err: err,
		Hint: "the server must be up and have a vote"}
}

// transfer tries it once. Raft gives up after an election's time, without saying so.
func (m *Member) transfer(ctx context.Context, to uint64) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	return m.etcd.Server.MoveLeader(ctx, m.ID(), to)
}

// Trusts returns the fingerprints of the authorities that the member's port has trusted since it was opened.
func (m *Member) Trusts() []string { return slices.Clone(m.trusts) }

// Token names the store among all that ever were the cluster's: one that is restored or recovered is another, and does not
// talk to what is left of the one before.
func (m *Member) Token() string { return m.dir.token }

// WaitVoter returns when the member has a vote and has caught up, so that its client sees what is true now. It ends with
// [Member.Err] if the member stops meanwhile, as when it is removed.
func (m *Member) WaitVoter(ctx context.Context) error {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !m.votes(ctx) {
		select {
		case <-look.C:
		case <-m.Done():
			return m.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for the member's vote: %w", context.Cause(ctx))
		}
	}
	return nil
}

// votes asks the leader. What the member knows by itself is not enough: at first that is just what it was told when it
// joined, and it is not told that it has no vote.
func (m *Member) votes(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	r, err := m.client.MemberList(ctx)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(r.Members, func(x *etcdserverpb.Member) bool {
		return x.GetID() == m.ID() && !x.GetIsLearner()
	})
}

// Err says why the member has stopped; nil if it has not, or was closed. Forbidden if the cluster has removed it.
func (m *Member) Err() error {
	if !m.stopped() || m.closing.Load() && !isRemoved(m.etcd, m.log) {
		return nil
	}
	return stoppedWhy(m.etcd, m.log)
}

func errRemoved() error {
	return crony.Errorf(crony.Forbidden, "this server was removed from the cluster").
		WithHint("to make the host a server again, empty its data directory and run `crony cluster join`")
}

// trusts returns the fingerprints of the authorities in the file.
func (p *Peer) trusts() ([]string, error) {
	if p.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(p.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read the authorities: %w", err)
	}
	roots, err := pki.ParseRoots(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p.CAFile, err)
	}
	var list []string
	for _, r := range roots {
		list = append(list, r.Fingerprint())
	}
	return list, nil
}
