package member

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"crony"
	"crony/internal/pki"
)

type Info struct {
	ID      uint64
	Server  string
	Address string
	Learner bool
}

func (m *Member) Members(context.Context) ([]Info, error) {
	list := make([]Info, 0, 3)
	for _, x := range m.etcd.Server.Cluster().Members() {
		info := Info{ID: uint64(x.ID), Server: x.Name, Learner: x.IsLearner}
		if len(x.PeerURLs) > 0 {
			u, _ := url.Parse(x.PeerURLs[0])
			info.Address = u.Host
		}
		list = append(list, info)
	}
	return list, nil
}

func (m *Member) Add(ctx context.Context, address string) error {
	return m.settle(ctx, "add a member", func(ctx context.Context) error {
		_, err := m.client.MemberAddAsLearner(ctx, []string{"https://" + address})
		return err
	})
}

func (m *Member) Remove(ctx context.Context, id uint64) error {
	return m.settle(ctx, "remove a member", func(ctx context.Context) error {
		_, err := m.client.MemberRemove(ctx, id)
		return err
	})
}

func (m *Member) Promote(ctx context.Context, id uint64) error {
	_, err := m.client.MemberPromote(ctx, id)
	return m.refused("give a member its vote", err)
}

func (m *Member) settle(ctx context.Context, what string, change func(context.Context) error) error {
	deadline := time.Now().Add(15 * time.Second)
	for {
		err := change(ctx)
		if err == nil || !strings.Contains(err.Error(), "unhealthy cluster") || time.Now().After(deadline) {
			return m.refused(what, err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return m.refused(what, err)
		}
	}
}

func (m *Member) refused(what string, err error) error {
	if err == nil {
		return nil
	}
	refusal := &crony.Error{Code: crony.Unavailable, Message: "could not " + what + ": " + err.Error(), Err: err}
	for _, c := range []error{rpctypes.ErrMemberLearnerNotReady, rpctypes.ErrTooManyLearners, rpctypes.ErrPeerURLExist, rpctypes.ErrMemberNotLearner} {
		if errors.Is(err, c) || strings.Contains(err.Error(), c.Error()) {
			refusal.Code = crony.Conflict
		}
	}
	return refusal
}

func (m *Member) Leading() bool { return m.etcd.Server.Lead() == m.ID() }

func (m *Member) Transfer(ctx context.Context, to uint64) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return m.etcd.Server.MoveLeader(ctx, m.ID(), to)
}

func (m *Member) Trusts() []string { return m.trusts }
func (m *Member) Token() string    { return m.dir.token }

func (m *Member) WaitVoter(ctx context.Context) error {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if !m.etcd.Server.IsLearner() && m.etcd.Server.Lead() != 0 {
			return nil
		}
		select {
		case <-look.C:
		case <-m.Done():
			return m.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for the member's vote: %w", context.Cause(ctx))
		}
	}
}

func (m *Member) Err() error {
	select {
	case <-m.Done():
	default:
		return nil
	}
	switch {
	case m.log.removed() || m.etcd.Server.IsIDRemoved(m.ID()):
		return errRemoved()
	case m.closing.Load():
		return nil
	}
	return crony.Errorf(crony.Unavailable, "the store's member has stopped by itself")
}

func errRemoved() error {
	return crony.Errorf(crony.Forbidden, "this server was removed from the cluster").
		WithHint("to make the host a server again, empty its data directory and run `crony cluster join`")
}

func (p *Peer) trusts() ([]string, error) {
	if p.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(p.CAFile)
	if err != nil {
		return nil, err
	}
	roots, err := pki.ParseRoots(text)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, r := range roots {
		list = append(list, r.Fingerprint())
	}
	return list, nil
}
