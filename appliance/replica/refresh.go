package replica

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"crony"
	"crony/embedded/runlog"
)

const refreshWait = 3 * time.Second // less than what an agent waits for its welcome

// Refresh fetches what the other servers have of runs, and returns when most servers have said so, this one among them: what
// this log then lacks of the runs was acknowledged to nobody. Unavailable if too few answer; then nothing may be judged by
// what is not here. An id that can't be a run's is looked up nowhere.
func (l *Log) Refresh(ctx context.Context, runs ...crony.RunID) error {
	members := l.members.Load()
	days := map[string][]string{}
	for _, id := range runs {
		if item, err := runlog.RunItem(id); err == nil {
			days[item.Day] = append(days[item.Day], item.Key)
		}
	}
	if len(days) == 0 || members.need == 1 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, refreshWait)
	defer cancel()
	results := make(chan error, len(members.others))
	for _, o := range members.others {
		go func() { results <- o.refresh(ctx, days) }() // ends soon after ctx does
	}
	answered, why := 1, error(nil)
	for range members.others {
		if err := <-results; err != nil {
			why = err
		} else if answered++; answered == members.need {
			l.metrics.refreshed.Add(float64(len(runs)))
			return nil
		}
	}
	return &crony.Error{Code: crony.Unavailable, Err: why,
		Message: fmt.Sprintf("%d of %d servers say what they know of a run, and %d are needed", answered, len(members.others)+1,
			members.need), Hint: "`crony cluster status` shows which servers are down"}
}

func (o *other) refresh(ctx context.Context, days map[string][]string) error {
	address := o.where()
	if address == "" {
		return crony.Errorf(crony.Unavailable, "the address of the server %s is not known", o.id)
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		if err := o.l.fetch(ctx, address, day, days[day], func(time.Duration) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}
