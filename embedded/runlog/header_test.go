package runlog

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"crony"
)

// numbered is texts that know every name.
type numbered struct{}

func (numbered) appendRef(b []byte, s string, _ bool) []byte {
	return binary.AppendUvarint(b, uint64(len(s))<<1)
}

func (numbered) text(u *unpacker) string {
	if ref := u.uvarint(); ref&1 == 1 {
		return string(u.bytes(ref >> 1))
	}
	return "name"
}

// FuzzStored reads anything as what a day file holds: a file with flipped bytes may hold just that.
func FuzzStored(f *testing.F) {
	run, _ := crony.Fold(life(noon()))
	k, err := parseID(run.ID)
	if err != nil {
		f.Fatal(err)
	}
	value := appendFigures([]byte{valueVersion, stateByte(run.State), 0}, k.millis(), &run)
	facts := life(noon())
	facts[0].Claimed.Handle = true
	facts = append(facts, crony.Fact{Seq: crony.CalleeSeq, At: noon(), Result: &crony.ResultFact{Attempt: 1, Data: []byte("{}")}},
		(&crony.Handled{By: "alice", At: noon(), Request: "r1"}).Fact(""))
	for _, fact := range facts {
		value = appendFact(value, k.millis(), numbered{}, &fact)
	}
	c := counter{counts: crony.RunCounts{Failed: 3}, took: map[int]int64{4: 1, 900: 2}}
	for _, seed := range [][]byte{nil, value, c.append(nil), {valueVersion, chunkPlain, 1, 0, 0, 0, 0, 0, 'x'}} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, value []byte) {
		for _, value := range [][]byte{value, seal(bytes.Clone(value), 0, k[:])} {
			_, _, _ = headerOf(k, value)
			if facts, err := factsOf(k, value, numbered{}); err == nil {
				crony.Fold(facts)
			}
		}
		key := chunkKey(k, chunkRef{attempt: 1, stream: 1})
		for head := range min(len(value), 32) + 1 { // whatever its header's checksum covers, it is right
			sealed := append(seal(bytes.Clone(value[:head]), 0, key), value[head:]...)
			_, _ = chunkHeaderOf(key, sealed)
		}
		_ = readSum(value)
		if c, err := readCounter(value); err == nil {
			c.durations()
		}
		u := unpacker{b: value}
		u.stretch([]byte("job\x0012345678abcdefghuid"), numbered{})
		for b := block(value); b.len() > 0; b = b[runSize:] {
			b.search(k)
		}
	})
}

// TestHeader reads the header of a run's value, as its facts come.
func TestHeader(t *testing.T) {
	l := openTest(t, Options{})
	facts := life(noon())
	k, err := parseID(facts[0].Run)
	if err != nil {
		t.Fatal(err)
	}
	want := header{state: crony.Claimed, took: -1, due: noon()}
	for n, change := range []func(){
		func() {},
		func() { want.state, want.started = crony.Running, facts[1].At },
		func() { want.cpu = 250_000 },
		func() { want.state, want.took = crony.Succeeded, facts[3].At.Sub(facts[1].At) },
	} {
		mustAppend(t, l, facts[n:n+1], nil)
		change()
		err := l.days.view(k.day(), func(tx *bbolt.Tx) error {
			value := tx.Bucket([]byte(bucketRuns)).Get(k[:])
			got, size, err := headerOf(k, value)
			want.job, want.agent, want.group, want.labels, want.trigger = got.job, got.agent, got.group, got.labels, got.trigger
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(header{})); diff != "" || err != nil {
				t.Errorf("after %d facts: %v\n%s", n+1, err, diff)
			}
			again, _, err := readHeader(k, bytes.Clone(value[:size])) // as it is stored with a pending run
			if diff := cmp.Diff(got, again, cmp.AllowUnexported(header{})); diff != "" || err != nil {
				t.Errorf("alone, after %d facts: %v\n%s", n+1, err, diff)
			}
			names := namesOf(tx)
			for id, want := range map[uint32]string{
				got.job: "backup", got.agent: "a1", got.group: crony.DefaultGroup, got.trigger: string(crony.BySchedule),
			} {
				if name, ok := names.name(id); !ok || name != want {
					t.Errorf("name %d is %q, want %q", id, name, want)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnpackTimes packs times of all the years there can be, relative to any base.
func TestUnpackTimes(t *testing.T) {
	for _, at := range []time.Time{
		{}, noon(), time.Unix(0, 0).UTC(), time.Unix(-1, 1).UTC(), time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), noon().Add(relative * time.Second), noon().Add(-relative * time.Second),
	} {
		for _, base := range []int64{0, noon().UnixMilli(), 1, int64(lastDay) * dayMillis} {
			u := unpacker{b: appendTime(nil, base, at)}
			if got := u.time(base); !got.Equal(at) || u.failed || len(u.b) > 0 {
				t.Errorf("%v from %d: %v", at, base, got)
			}
		}
	}
}
