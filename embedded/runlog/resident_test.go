package runlog

import (
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// TestLetGo: what was read of a day's file is in the process's memory, is not any more once it was let go of, and can be read
// again; transactions of before go on.
func TestLetGo(t *testing.T) {
	l := openTest(t, Options{})
	fillWithOutput(t, l, 16<<20)
	resident := func() int64 {
		n, err := residentFiles()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	days := l.days.newestFirst()
	sum := func(tx *bbolt.Tx) (n int64) {
		err := tx.Bucket([]byte(bucketChunks)).ForEach(func(_, v []byte) error {
			for i := 0; i < len(v); i += 512 {
				n += int64(v[i])
			}
			n += int64(len(v))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	err := l.days.view(days[0], func(tx *bbolt.Tx) error {
		before := resident()
		want := sum(tx)
		read := resident() - before
		if err := l.days.letGo(); err != nil {
			return err
		}
		if left := resident() - before; read < want/8 || left > read/2 {
			t.Errorf("reading %d bytes added %d bytes to the process, of which %d are left", want, read, left)
		}
		if again := sum(tx); again != want {
			t.Errorf("read again: %d, want %d", again, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, life(noon().Add(time.Second)), nil)
}
