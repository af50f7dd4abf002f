package callbacks

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"crony"
)

// The bounds of what is kept of what services tell of a run: each fact is read and written with its run.
const (
	maxProgress = 200 // facts; from then on only those that say more than any before: a hundred at the most
	maxResults  = 8   // facts
	mostAhead   = time.Minute
)

// records returns what is to be stored of a report. What is on record already is stored once more as it is there: it may not
// be on the disks of most servers.
func (c *Callbacks) records(ctx context.Context, k *call, report *crony.CalleeReport) (facts []crony.Fact, chunks []crony.Chunk) {
	told := k.told()
	limit := int64(-1)
	for i := range report.Events {
		e := &report.Events[i]
		if e.Log != nil {
			if limit < 0 {
				limit = c.outputLimit(ctx, k.run.Job)
			}
			chunks = append(chunks, k.output(e, c.at(k, e.At), limit)...)
			continue
		}
		number := crony.CalleeNumber(report.Attempt, e.Seq)
		if known, ok := told.facts[number]; ok {
			facts = append(facts, known)
			continue
		}
		f := crony.Fact{Run: k.run.ID, Seq: number, At: c.at(k, e.At), Progress: e.Progress}
		if e.Result != nil {
			f.Result = &crony.ResultFact{Attempt: report.Attempt, Data: e.Result.Data}
			if len(f.Result.Data) == 0 {
				f.Result.Data = []byte("null")
			}
		}
		if told.takes(&f) {
			facts = append(facts, f)
		}
	}
	return facts, chunks
}

// at bounds what a service's clock says: what it tells happened since it was called, and not in the future.
func (c *Callbacks) at(k *call, told time.Time) time.Time {
	if now := c.opts.Now(); told.After(now.Add(mostAhead)) || told.Before(k.started.At.Add(-mostAhead)) {
		return now.UTC()
	}
	return told.UTC()
}

// told is what services have told of a run so far.
type told struct {
	facts             map[int]crony.Fact
	progress, results int
	most              int // percent
}

func (k *call) told() *told {
	t := &told{facts: map[int]crony.Fact{}, most: -1}
	for i := range k.facts {
		if f := k.facts[i]; f.Progress != nil || f.Result != nil {
			t.facts[f.Seq] = f
			t.add(&f)
		}
	}
	return t
}

func (t *told) add(f *crony.Fact) {
	if f.Result != nil {
		t.results++
		return
	}
	t.progress++
	t.most = max(t.most, f.Progress.Percent)
}

// takes says whether there is room for one more.
func (t *told) takes(f *crony.Fact) bool {
	if f.Result != nil && t.results >= maxResults || f.Progress != nil && t.progress >= maxProgress && f.Progress.Percent <= t.most {
		return false
	}
	t.add(f)
	return true
}

// output makes pieces of the attempt's output of a log event. Beyond the limit nothing is kept, and that is said there once.
func (k *call) output(e *crony.CalleeEvent, at time.Time, limit int64) []crony.Chunk {
	piece := func(offset int64, data []byte) crony.Chunk {
		return crony.Chunk{Run: k.run.ID, Attempt: k.attempt, Stream: crony.Stdout, Offset: offset, At: at, Data: data}
	}
	text, offset := []byte(e.Log.Text), e.Log.Offset
	if offset+int64(len(text)) <= limit {
		return []crony.Chunk{piece(offset, text)}
	}
	note := fmt.Appendf(nil, "\ncrony: what comes after %d bytes is not kept\n", limit)
	if offset >= limit {
		return []crony.Chunk{piece(limit, note)}
	}
	return []crony.Chunk{piece(offset, bytes.Clone(text[:limit-offset])), piece(limit, note)}
}

// outputLimit returns how much is kept of an attempt's output, in bytes.
func (c *Callbacks) outputLimit(ctx context.Context, name string) int64 {
	job, err := c.opts.State.Job(ctx, name)
	if err != nil { // it was removed
		return int64(crony.DefaultOutputLimit)
	}
	return job.Job.OutputLimit()
}
