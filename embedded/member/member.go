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
	peer    Peer
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
	if exists(dir.removedFile()) && !o.force {
		return nil, errors.Join(errRemoved(), dir.release())
	}
	joins := dir.fresh && joining
	m, err := start(ctx, o, dir, joins)
	if err != nil {
		removed := crony.CodeOf(err) == crony.Forbidden
		return nil, errors.Join(fmt.Errorf("open member in %s: %w", o.Dir, err), dir.leave(removed))
	}
	if err := m.finish(ctx, o, joins); err != nil {
		return nil, errors.Join(fmt.Errorf("open member in %s: %w", o.Dir, err), m.Close())
	}
	return m, nil
}

// finish does what is left when etcd is ready.
func (m *Member) finish(ctx context.Context, o Options, joins bool) error {
	if joins { // what it is, others have just said, and what it has, it gets from them
		return nil
	}
	if err := errors.Join(m.dir.finish(), m.advertise(ctx, o.Peer)); err != nil {
		return err
	}
	return m.compare()
}

// compare compares the member's data with that of all others that are up. etcd could do so before it starts, but members that
// start at the same time would wait for each other, six seconds for each. It writes nothing but what its log says meanwhile.
func (m *Member) compare() error {
	if len(m.etcd.Server.Cluster().Members()) == 1 {
		return nil
	}
	err := m.etcd.Server.CorruptionChecker().InitialCheck()
	if err == nil {
		return nil
	}
	return &crony.Error{Code: crony.Internal, Message: "the data of this server's store can't be trusted: " + err.Error(), Err: err,
		Hint: "remove this server from the cluster, and join anew with an empty data directory"}
}

// Client returns the in-process client. It is not to be closed, and ends with the member.
func (m *Member) Client() *clientv3.Client { return m.client }

// ID returns the member's id in the etcd cluster. Only a store that is restored or recovered has other ids.
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

// Elected returns a channel that is closed when the member hears of the next leader.
func (m *Member) Elected() <-chan struct{} { return m.etcd.Server.LeaderChangedNotify() }

// Done is closed when the member has stopped, by Close or by itself.
func (m *Member) Done() <-chan struct{} { return m.etcd.Server.StopNotify() }

// Close stops the member, ends what still waits on its client, and gives the directory free. If it leads, another one takes
// over before. It may be called again.
func (m *Member) Close() error { return m.close() }

func (m *Member) shut() error {
	m.closing.Store(true)
	var stopped error
	if m.clients.stop != nil {
		stopped = m.clients.stop()
	}
	err := m.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil // that is how a client without a connection says that it is closed
	}
	m.log.closing()
	m.resign()
	m.etcd.Server.HardStop() // first: Close alone would wait for servers that begin only when etcd is ready
	m.etcd.Close()
	return errors.Join(stopped, err, m.dir.leave(isRemoved(m.etcd, m.log)))
}

// resign has another member lead before this one stops. etcd would do so by itself, but wait for six seconds for one that is
// about to stop too.
func (m *Member) resign() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = m.etcd.Server.TryTransferLeadershipOnShutdown() // if nobody takes it, the others elect
	}()
	select {
	case <-done:
	case <-time.After(electionMillis * time.Millisecond): // by when raft has given up
		m.etcd.Server.HardStop() // which ends the attempt
		<-done
	}
}

// start runs etcd until it is ready. An etcd that has met its end on the way has goroutines that wait forever and can't be
// closed; the caller ends the process with the error.
func start(ctx context.Context, o Options, dir *dataDir, joins bool) (*Member, error) {
	log := newLog(o.Log) //nolint:contextcheck // what etcd logs belongs to no request
	trusts, err := o.Peer.trusts()
	if err != nil {
		return nil, err
	}
	config, err := config(o, dir, joins, log.zap)
	if err != nil {
		return nil, err
	}
	if joins {
		if err := admitted(ctx, o, log.zap); err != nil {
			return nil, err
		}
	}
	etcd, err := launch(log, func() (*embed.Etcd, error) { return embed.StartEtcd(config) })
	if err != nil {
		return nil, err
	}
	for _, port := range etcd.Peers {
		if err := hasten(port.Addr()); err != nil {
			o.Log.Warn("a member that was cut off may be slow to come back", "err", err)
		}
	}
	if joins { // from here on its log is known to others: it must never be begun anew
		err = errors.Join(dir.finish(), log.arm())
	} else {
		err = ready(ctx, etcd, log)
	}
	if err != nil {
		return nil, err
	}
	m := &Member{etcd: etcd, client: v3client.New(etcd.Server), dir: dir, log: log, peer: o.Peer, trusts: trusts}
	m.close = sync.OnceValue(m.shut)
	return m, nil
}

// launch does with etcd's code what may meet its end: a fatal entry in its log, or a panic, which it answers some damaged
// files with. Either is an error.
func launch[T any](log *etcdLog, do func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- result{err: fmt.Errorf("etcd can't make sense of its files: %v", r)}
			}
		}()
		value, err := do()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case err := <-log.met:
		var none T
		return none, err
	}
}

// ready waits until etcd serves, or stops it.
func ready(ctx context.Context, etcd *embed.Etcd, log *etcdLog) error {
	if isRemoved(etcd, log) { // nobody else needs to be up to know that
		return halt(etcd, log, errRemoved())
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return log.arm()
	case err := <-log.met:
		return err
	case <-etcd.Server.StopNotify():
		return halt(etcd, log, stoppedWhy(etcd, log))
	case err := <-etcd.Err():
		return halt(etcd, log, err)
	case <-ctx.Done():
		return halt(etcd, log, fmt.Errorf("wait for a leader: %w", context.Cause(ctx)))
	}
}

// halt ends an etcd that never got ready, and returns why.
func halt(etcd *embed.Etcd, log *etcdLog, why error) error {
	log.closing()
	etcd.Server.HardStop() // first: Close alone would wait for servers that begin only when etcd is ready
	etcd.Close()
	return why
}

// isRemoved tells if etcd knows by itself, or has stopped because it was told, that the cluster has removed the member.
func isRemoved(etcd *embed.Etcd, log *etcdLog) bool {
	return log.removed() || etcd.Server.IsIDRemoved(uint64(etcd.Server.MemberID()))
}

// stoppedWhy says why etcd has stopped by itself.
func stoppedWhy(etcd *embed.Etcd, log *etcdLog) error {
	if isRemoved(etcd, log) {
		return errRemoved()
	}
	failure := crony.Errorf(crony.Unavailable, "the store's member has stopped by itself")
	if why := log.why.Load(); why != nil {
		failure.Message, failure.Err = failure.Message+": "+(*why).Error(), *why
	}
	return failure
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
