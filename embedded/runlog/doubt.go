package runlog

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"
)

// certain makes a day certain again of which a transaction has failed while it was being committed.
//
// What such a transaction has changed is in doubt: its last step writes the file's head and syncs it. If that sync fails this
// process sees the new head all the same, though the disk may have the old one, and the kernel, which tells such a failure
// once, has nothing more to write. To go on would be to reuse pages that the head on the disk still needs. So the heads are
// written again, as they are seen, and synced; and what is remembered of the day is read again.
func (w *writer) certain(day dayNumber) error {
	if !w.doubtful[day] {
		return nil
	}
	if err := w.log.days.writeHeads(day); err != nil {
		return fmt.Errorf("make the day %s certain again: %w", day, err)
	}
	err := w.log.days.view(day, func(tx *bbolt.Tx) error { return w.log.mem.reread(day, tx) })
	if err != nil {
		return fmt.Errorf("read the day %s again: %w", day, err)
	}
	delete(w.doubtful, day)
	return nil
}

// writeHeads writes the two heads of a day's file as they are.
func (s *days) writeHeads(day dayNumber) error {
	d, err := s.file(day)
	if err != nil || d == nil {
		return err
	}
	return s.with(d, true, func(db *bbolt.DB) error {
		file, err := os.OpenFile(db.Path(), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		heads := make([]byte, 2*db.Info().PageSize)
		if _, err = io.ReadFull(file, heads); err == nil {
			_, err = file.WriteAt(heads, 0)
		}
		if err == nil {
			err = file.Sync()
		}
		return errors.Join(err, file.Close())
	})
}

// reread reads a day again of which it is not known what was written, and tells those who listen that anything may have been.
func (m *memory) reread(day dayNumber, tx *bbolt.Tx) error {
	m.forgetLive(day)
	if err := m.adopt(day, tx); err != nil {
		return err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for k, followers := range m.followers {
		if k.day() != day {
			continue
		}
		for f := range followers {
			f.lost()
			if m.live[k] == nil {
				f.ended()
			}
		}
	}
	return nil
}

func (m *memory) forgetLive(day dayNumber) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, rec := range m.live {
		if k.day() == day {
			m.unset(k, rec.run.Agent)
		}
	}
}
