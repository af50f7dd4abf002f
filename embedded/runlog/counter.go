package runlog

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"crony"
)

// Counters are what became of the runs of a day, and of a job on a day: how many ended how, the CPU microseconds of those
// that ended, the longest, and a histogram of how long those took that started. Of an hour there are only the first.
// One more counts the results of a day that are to be handled.
const (
	counterDay   = 'd'
	counterHour  = 'h'
	counterJob   = 'j'
	counterWaits = 'w'
)

func hourKey(hour int) []byte { return []byte{counterHour, byte(hour)} }

func jobKey(job uint32) []byte { return binary.BigEndian.AppendUint32([]byte{counterJob}, job) }

func hourOf(k runKey) int { return k.minute() / 60 }

// counter is one counter. A run is taken out of it by what was put in: its header.
type counter struct {
	counts  crony.RunCounts
	cpu     int64 // microseconds
	longest time.Duration
	took    map[int]int64 // how many runs, by bucket
}

// add counts the run with this header n times: once, or minus once. A run that has not ended does not count.
func (c *counter) add(h *header, n int64) {
	if !h.ended() {
		return
	}
	*c.counts.Of(h.state) += n
	c.cpu += n * h.cpu
	if h.took < 0 {
		return
	}
	if c.took == nil {
		c.took = map[int]int64{}
	}
	b := durationBucket(h.took)
	if c.took[b] += n; c.took[b] == 0 {
		delete(c.took, b)
	}
	if n > 0 {
		c.longest = max(c.longest, h.took)
	}
}

// merge adds another's.
func (c *counter) merge(other *counter) {
	c.counts.Add(other.counts)
	c.cpu += other.cpu
	c.longest = max(c.longest, other.longest)
	if c.took == nil && len(other.took) > 0 {
		c.took = make(map[int]int64, len(other.took))
	}
	for b, n := range other.took {
		if c.took[b] += n; c.took[b] == 0 {
			delete(c.took, b)
		}
	}
}

func endStates() [6]crony.RunState {
	return [...]crony.RunState{
		crony.Succeeded, crony.Failed, crony.TimedOut, crony.Killed, crony.Lost, crony.Skipped,
	}
}

func appendCounts(b []byte, c *crony.RunCounts) []byte {
	for _, s := range endStates() {
		b = binary.AppendUvarint(b, uint64(*c.Of(s)))
	}
	return b
}

func (u *unpacker) counts() (c crony.RunCounts) {
	for _, s := range endStates() {
		*c.Of(s) = int64(u.uvarint())
	}
	return c
}

// append appends the counter: the counts, CPU time, the longest, and of each bucket that is not empty how far it is from the
// one before and how many it has.
func (c *counter) append(b []byte) []byte {
	b = appendCounts(append(b, valueVersion), &c.counts)
	b = binary.AppendUvarint(b, uint64(c.cpu))
	b = binary.AppendUvarint(b, uint64(c.longest))
	last := 0
	for _, at := range c.buckets() {
		b = binary.AppendUvarint(b, uint64(at-last))
		b = binary.AppendUvarint(b, uint64(c.took[at]))
		last = at
	}
	return b
}

func (c *counter) buckets() []int {
	list := make([]int, 0, len(c.took))
	for at := range c.took {
		list = append(list, at)
	}
	slices.Sort(list)
	return list
}

// readCounter reads what append has written; a counter that is not there yet is a zero one.
func readCounter(value []byte) (c counter, err error) {
	if value == nil {
		return c, nil
	}
	u := unpacker{b: value}
	version := u.byte()
	c.counts = u.counts()
	c.cpu, c.longest = int64(u.uvarint()), time.Duration(u.uvarint())
	c.took = map[int]int64{}
	for at := 0; len(u.b) > 0; {
		at += u.number(1 << 16)
		c.took[at] = int64(u.uvarint())
	}
	if u.failed || version != valueVersion {
		return counter{}, unreadableCounter()
	}
	return c, nil
}

// readWaits returns how many results of a day are in the index as to be handled. What can't be read is taken for one: it is
// looked for.
func readWaits(counters *bbolt.Bucket) int64 {
	value := counters.Get([]byte{counterWaits})
	if value == nil {
		return 0
	}
	u := unpacker{b: value}
	version, n := u.byte(), u.varint()
	if u.failed || version != valueVersion {
		return 1
	}
	return n
}

// readCounts reads the counts of a counter alone.
func readCounts(value []byte) (crony.RunCounts, error) {
	if value == nil {
		return crony.RunCounts{}, nil
	}
	u := unpacker{b: value}
	version, counts := u.byte(), u.counts()
	if u.failed || version != valueVersion {
		return crony.RunCounts{}, unreadableCounter()
	}
	return counts, nil
}

func unreadableCounter() error {
	return &crony.Error{Code: crony.Internal, Message: "a counter of runs can't be read", Err: errUnknownRecord}
}

// The histogram has 32 buckets from each power of two microseconds to the next, so that the largest duration of a bucket is
// less than 1/32 longer than its smallest, plus a microsecond.
const bucketBits = 5

func durationBucket(d time.Duration) int {
	v := uint64(max(0, d.Microseconds()))
	shift := max(0, bits.Len64(v)-bucketBits-1)
	return shift<<bucketBits + int(v>>shift)
}

// bucketEnd returns the duration that none of the bucket is longer than.
func bucketEnd(b int) time.Duration {
	shift := max(0, b>>bucketBits-1)
	v := uint64(b - shift<<bucketBits)
	return time.Duration((v+1)<<shift) * time.Microsecond
}

// durations returns the percentiles; nil if none of the runs started. The longest is exact as long as no run that was it had
// its end corrected.
func (c *counter) durations() *crony.Durations {
	var total int64
	buckets := c.buckets()
	for _, b := range buckets {
		total += c.took[b]
	}
	if total == 0 {
		return nil
	}
	longest := min(c.longest, bucketEnd(buckets[len(buckets)-1]))
	percentile := func(p int64) float64 {
		rest := (total*p + 99) / 100 // how many are not longer
		for _, b := range buckets {
			if rest -= c.took[b]; rest <= 0 {
				return min(bucketEnd(b), longest).Seconds()
			}
		}
		return longest.Seconds()
	}
	return &crony.Durations{P50: percentile(50), P90: percentile(90), P99: percentile(99), Max: longest.Seconds()}
}

func (c *counter) day(day dayNumber) crony.DayFigures {
	return crony.DayFigures{Day: day.String(), Counts: c.counts, Durations: c.durations(), CPUSeconds: float64(c.cpu) / 1e6}
}
