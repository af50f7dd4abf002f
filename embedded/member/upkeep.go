package member

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Alarm is a state in which the store takes no more writes that add to it. It lasts until it is disarmed.
type Alarm struct {
	Member uint64 // whose store it is about
	Kind   AlarmKind
}

// AlarmKind is what an alarm is about.
type AlarmKind string

// The kinds of alarm, by etcd's names.
const (
	NoSpace AlarmKind = "NOSPACE" // a member's store has reached its quota
	Corrupt AlarmKind = "CORRUPT" // a member's data differs from the others'
)

// Status is how the member is, as it knows itself.
type Status struct {
	Term    uint64 // raft's; each leader has its own
	Index   uint64 // up to which the log is known to be committed
	Applied uint64 // up to which it is in the database
	Size    int64  // of the database's file, in bytes
	InUse   int64  // of that, what holds data; Defragment gives the rest back
	Quota   int64  // the size in bytes at which NoSpace is raised
	Learner bool   // it has no vote yet
	Alarms  []Alarm
}

// Status asks nobody else. It can be asked for until the member is closed.
func (m *Member) Status() Status {
	s := m.etcd.Server
	status := Status{
		Term: s.Term(), Index: s.CommittedIndex(), Applied: s.AppliedIndex(),
		Size: s.Backend().Size(), InUse: s.Backend().SizeInUse(), Quota: s.Cfg.QuotaBackendBytes,
	}
	if self := s.Cluster().Member(s.MemberID()); self != nil {
		status.Learner = self.IsLearner
	}
	for _, a := range s.Alarms() {
		status.Alarms = append(status.Alarms, Alarm{Member: a.GetMemberID(), Kind: AlarmKind(a.GetAlarm().String())})
	}
	return status
}

// Compact forgets what was before a revision, in all members, and returns when this one has done so; revision 0 is the newest.
// Watches and reads that want something older fail from then on. Nothing is wrong if it has been forgotten before.
func (m *Member) Compact(ctx context.Context, revision int64) error {
	if revision == 0 {
		revision = m.etcd.Server.KV().Rev()
	}
	_, err := m.client.Compact(ctx, revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact the store to revision %d: %w", revision, err)
	}
	return nil
}

// Defragment rewrites the database's file without what is not in use. Nothing can be read or written here meanwhile, and
// nothing can stop it.
func (m *Member) Defragment() error {
	if err := m.etcd.Server.Defragment(); err != nil {
		return fmt.Errorf("defragment the store: %w", err)
	}
	return nil
}

// Disarm ends the alarms for want of space, of all members, after there is space again. It leaves the others alone: a store
// whose data differs is not mended by it.
func (m *Member) Disarm(ctx context.Context) error {
	for _, a := range m.Status().Alarms {
		if a.Kind != NoSpace {
			continue
		}
		am := clientv3.AlarmMember{MemberID: a.Member, Alarm: etcdserverpb.AlarmType_NOSPACE}
		if _, err := m.client.AlarmDisarm(ctx, &am); err != nil {
			return fmt.Errorf("end the alarm of member %x: %w", a.Member, err)
		}
	}
	return nil
}

// Snapshot writes the database of this moment to w, with a checksum at its end, as [Restore] reads it. Everything up to the
// revision is in it. Writing goes on meanwhile; the file can't shrink until it is done.
func (m *Member) Snapshot(ctx context.Context, w io.Writer) (revision int64, err error) {
	revision = m.etcd.Server.KV().Rev()
	snapshot := m.etcd.Server.Backend().Snapshot()
	defer func() { err = errors.Join(err, snapshot.Close()) }() // or the database could never be closed
	out, sum := &keptWriter{check: func() error { return context.Cause(ctx) }, w: w}, sha256.New()
	_, err = snapshot.WriteTo(io.MultiWriter(out, sum))
	if err == nil {
		_, err = out.Write(sum.Sum(nil))
	}
	if err := cmp.Or(out.err, err); err != nil {
		return 0, fmt.Errorf("write a snapshot of the store: %w", err)
	}
	return revision, nil
}

// keptWriter keeps the error with which it was refused, which may be a failed check: who copies a database only quotes it.
type keptWriter struct {
	check func() error
	w     io.Writer
	err   error
}

// Write implements [io.Writer].
func (k *keptWriter) Write(p []byte) (n int, err error) {
	if k.err = k.check(); k.err == nil {
		n, k.err = k.w.Write(p)
	}
	return n, k.err
}
