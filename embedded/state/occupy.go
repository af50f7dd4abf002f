package state

import (
	"context"

	"crony"
)

// Occupy gives a run its place among those that hold its job's lock, though there may be no room: its agent was cut off and has
// started it without asking. So no other is let in until as many have ended as are too many. It changes nothing if the job, of
// this uid, has no lock, or if the run holds it already.
func (s *Store) Occupy(ctx context.Context, job, uid string, place crony.Lock) error {
	return s.change(ctx, "occupy the lock of "+job, func() (*txn, error) {
		t := s.newTxn(ctx)
		j := t.look(job)
		if j.rev == 0 || j.def.UID != uid || j.def.Job.Slots() == 0 {
			return t, nil
		}
		key := j.lockKey(place.Agent)
		l, _ := s.mirror.lock(key)
		next, i := l.clone(), l.at(place.Run)
		place.Since = t.now
		switch {
		case i < 0:
			next.Runs = append(next.Runs, place)
		case next.Runs[i].Waits:
			next.Runs[i].Waits, next.Runs[i].Since = false, place.Since
		default:
			return t, nil
		}
		t.expect(key, l.rev)
		t.ops = append(t.ops, next.op(key))
		return t, nil
	})
}
