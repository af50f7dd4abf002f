// Package member is the etcd member inside a crony server: the replicated store that everything else is written to.
//
// The one thing to know: there is no client port, unless one is asked for. The process itself is the only client, by direct
// calls, so a member's safety doesn't rest on etcd's users and roles, and a member that nobody can join ([Options].Peer is
// zero) listens on nothing at all.
//
// A data directory belongs to one server of one cluster, and says so in its file "owner", whose lock also says that it is in
// use. A member is made only when that is asked for; a wiped directory is refused, never filled with a new, empty cluster.
//
// When etcd finds that it can't go on (a write to its log failed, say), it must not go on: before Open has returned that is
// an error, later it is a panic.
//
// Members join without a vote and get it when they have caught up; who joins, and who is removed, is decided elsewhere. A
// store that is restored ([Restore]) or recovered ([Recover]) is another store, by its token: what is left of the one
// before is a stranger to it.
//
// The package knows nothing of the keys.
package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"crony"
	"crony/internal/pki"
)

// Options say which member to open.
type Options struct {
	Dir    string       // the member's own data directory; made with mode 0700
	Server pki.Identity // whose member it is: the cluster, and the server's id, which is the member's name
	Create bool         // make the only member of a new cluster if Dir holds none; otherwise that is refused
	Peer   Peer         // how other members reach this one; zero: not at all
	Log    *slog.Logger // takes etcd's warnings and errors, and its chatter if it takes debug messages

	// Members are all of a store's that has made room for this one, which is among them, and Token is that store's. They are
	// used if Dir holds no member yet, and leave it with one that has joined.
	Members []Address
	Token   string

	// ClientListen opens the store to etcd's own tools: IP:PORT. Only certificates of servers are let in. Closed if empty.
	ClientListen string

	QuotaBytes int64 // how large the store may grow; 2 GiB if 0

	force bool // make it the only member, whatever its log says
}

// Address is where a member is reached.
type Address struct {
	Server  string // whose it is; may be "" for one that has not started yet
	Address string // HOST:PORT
}

// Member is an open member. Its methods are safe for concurrent use.
type Member struct {
	etcd    *embed.Etcd
	client  *clientv3.Client
	dir     *dataDir
	log     *etcdLog
	close   func() error
	trusts  []string // fingerprints
	clients clientPort
	closing atomic.Bool
}

// Open opens the member and returns when it can read and write; a cluster of one needs no other for that. Reading the log
// that a long life has left takes its time, and ctx bounds only the wait after it. A member that joins is returned as soon
// as it runs: it can be used when [Member.WaitVoter] has returned. The error is a [crony.Error] where a person can do
// something about it: Conflict if Dir is in use or another's, NotFound if it holds no member or has lost it, Invalid for bad
// options, Forbidden if the member was removed from the cluster.
func Open(ctx context.Context, o Options) (*Member, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	joining := len(o.Members) > 0
	dir, err := claim(o.Dir, claimant{server: o.Server, create: o.Create || joining, join: joining, token: o.Token})
	if err != nil {
		return nil, err
	}
	joins := dir.fresh && joining
	m, err := start(ctx, o, dir, joins)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open member in %s: %w", o.Dir, err), dir.release())
	}
	if err := m.serveClients(o); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	if joins {
		return m, nil
	}
	if err := errors.Join(dir.finish(), m.advertise(ctx, o.Peer)); err != nil {
		return nil, errors.Join(fmt.Errorf("open member in %s: %w", o.Dir, err), m.Close())
	}
	return m, nil
}

// Client returns the in-process client. It is not to be closed, and ends with the member.
func (m *Member) Client() *clientv3.Client { return m.client }

// ID returns the member's id in the etcd cluster. It never changes.
func (m *Member) ID() uint64 { return uint64(m.etcd.Server.MemberID()) }

// Ready returns nil if the member knows a leader, so that it can be expected to read and write; otherwise Unavailable.
func (m *Member) Ready() error {
	select {
	case <-m.Done():
		return crony.Errorf(crony.Unavailable, "the store's member has stopped")
	default:
	}
	if m.etcd.Server.Leader() == 0 {
		return crony.Errorf(crony.Unavailable, "the store has no leader").
			WithHint("most of the servers must be up and see each other")
	}
	return nil
}

// Done is closed when the member has stopped, by Close or by itself.
func (m *Member) Done() <-chan struct{} { return m.etcd.Server.StopNotify() }

// Close stops the member, ends what still waits on its client, and gives the directory free. It may be called again.
func (m *Member) Close() error { return m.close() }

func (m *Member) shut() error {
	m.closing.Store(true)
	var stopped error
	if m.clients.stop != nil {
		stopped = m.clients.stop()
	}
	err := errors.Join(stopped, m.client.Close())
	if errors.Is(err, context.Canceled) {
		err = nil // that is how a client without a connection says that it is closed
	}
	m.log.closing()
	m.etcd.Server.Stop() // first: Close alone would wait for servers that begin only when etcd is ready
	m.etcd.Close()
	return errors.Join(err, m.dir.release())
}

// start runs etcd until it is ready. An etcd that has met its end on the way has goroutines that wait forever and can't be
// closed; the caller ends the process with the error.
func start(ctx context.Context, o Options, dir *dataDir, joins bool) (*Member, error) {
	log := newLog(o.Log) //nolint:contextcheck // what etcd logs belongs to no request
	trusts, err := o.Peer.trusts()
	if err != nil {
		return nil, err
	}
	config, err := config(o, dir.token, joins, log.zap)
	if err != nil {
		return nil, err
	}
	etcd, err := launch(config, log)
	if err != nil {
		return nil, err
	}
	if joins { // from here on its log is known to others: it must never be begun anew
		err = errors.Join(dir.finish(), log.arm())
	} else {
		err = ready(ctx, etcd, log)
	}
	if err != nil {
		return nil, err
	}
	m := &Member{etcd: etcd, client: v3client.New(etcd.Server), dir: dir, log: log, trusts: trusts}
	m.close = sync.OnceValue(m.shut)
	return m, nil
}

// launch starts etcd. Files that are damaged in certain ways make it panic; that is an error as well.
func launch(config *embed.Config, log *etcdLog) (*embed.Etcd, error) {
	type result struct {
		etcd *embed.Etcd
		err  error
	}
	started := make(chan result, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				started <- result{err: fmt.Errorf("etcd can't make sense of its files: %v", r)}
			}
		}()
		etcd, err := embed.StartEtcd(config)
		started <- result{etcd, err}
	}()
	select {
	case r := <-started:
		return r.etcd, r.err
	case err := <-log.met:
		return nil, err
	}
}

// ready waits until etcd serves, or stops it.
func ready(ctx context.Context, etcd *embed.Etcd, log *etcdLog) error {
	var err error
	select {
	case <-etcd.Server.ReadyNotify():
		return log.arm()
	case err = <-log.met:
		return err
	case <-etcd.Server.StopNotify():
		err = errors.New("it stopped by itself")
	case err = <-etcd.Err():
	case <-ctx.Done():
		err = fmt.Errorf("wait for a leader: %w", context.Cause(ctx))
	}
	if log.removed() || etcd.Server.IsIDRemoved(uint64(etcd.Server.MemberID())) {
		err = errRemoved()
	}
	log.closing()
	etcd.Server.Stop() // first: Close alone would wait for servers that begin only when etcd is ready
	etcd.Close()
	return err
}

// advertise tells the cluster where this member is reached, if that has changed.
func (m *Member) advertise(ctx context.Context, p Peer) error {
	if p.Listen == "" {
		return nil
	}
	address := p.Advertise
	if address == "" {
		address = m.etcd.Peers[0].Addr().String()
	}
	url := "https://" + address
	self := m.etcd.Server.Cluster().Member(m.etcd.Server.MemberID())
	if self != nil && len(self.PeerURLs) == 1 && self.PeerURLs[0] == url {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := m.client.MemberUpdate(ctx, m.ID(), []string{url}); err != nil {
		return fmt.Errorf("tell the members the address %s: %w", address, err)
	}
	return nil
}
