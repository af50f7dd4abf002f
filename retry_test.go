package crony

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestRetryWait(t *testing.T) {
	const s = Duration(time.Second)
	tests := []struct {
		name  string
		retry Retry
		want  []time.Duration // after the first attempt, the second, and so on, without chance
	}{
		{"by default", Retry{}, []time.Duration{10e9, 10e9, 10e9}},
		{"fixed", Retry{Backoff: BackoffFixed, Interval: 2 * s}, []time.Duration{2e9, 2e9, 2e9}},
		{"exponential", Retry{Backoff: BackoffExponential, Interval: 3 * s}, []time.Duration{3e9, 6e9, 12e9, 24e9}},
		{"with a cap", Retry{Backoff: BackoffExponential, Interval: 3 * s, MaxInterval: 10 * s}, []time.Duration{3e9, 6e9, 10e9, 10e9}},
		{"up to an hour", Retry{Backoff: BackoffExponential, Interval: 1000 * s}, []time.Duration{1000e9, 2000e9, 3600e9}},
		{"at the cap", Retry{Backoff: BackoffExponential, Interval: s, MaxInterval: s}, []time.Duration{1e9, 1e9}},
	}
	for _, tt := range tests {
		for i, want := range tt.want {
			for share, edge := range map[string]time.Duration{"least": want - want/10, "most": want + want/10 - 1} {
				got := tt.retry.Wait(i+1, func(below time.Duration) time.Duration {
					if share == "least" {
						return 0
					}
					return below - 1
				})
				if got != edge {
					t.Errorf("%s, after attempt %d, the %s: %s, want %s", tt.name, i+1, share, got, edge)
				}
			}
		}
	}
	longest := Retry{Backoff: BackoffExponential, Interval: MinRetryInterval, MaxInterval: MaxRetryInterval}
	if got := longest.Wait(MaxAttempts, func(time.Duration) time.Duration { return 0 }); got != MaxRetryInterval.Std()*9/10 {
		t.Errorf("after as many attempts as may be: %s", got)
	}
}

func TestRetryAgain(t *testing.T) {
	ends := []RunState{Succeeded, Failed, TimedOut, Killed, Lost, Skipped}
	tests := []struct {
		retry *Retry
		n     int
		want  []RunState // after which there is another attempt
	}{
		{nil, 1, nil},
		{&Retry{}, 1, []RunState{Failed, TimedOut}},
		{&Retry{}, 2, []RunState{Failed, TimedOut}},
		{&Retry{}, 3, nil},
		{&Retry{Attempts: 2}, 2, nil},
		{&Retry{Attempts: MaxAttempts}, MaxAttempts - 1, []RunState{Failed, TimedOut}},
		{&Retry{On: []RetryOn{RetryLost}}, 1, []RunState{Lost}},
		{&Retry{On: []RetryOn{RetryFailed, RetryLost}}, 1, []RunState{Failed, Lost}},
	}
	for _, tt := range tests {
		var got []RunState
		for _, state := range ends {
			if tt.retry.Again(tt.n, state) {
				got = append(got, state)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%+v after attempt %d: %v, want %v", tt.retry, tt.n, got, tt.want)
		}
	}
	for _, on := range RetryOn("").Allowed() {
		if !slices.Contains(ends, RunState(on)) {
			t.Errorf("%s is no state in which a run ends", on)
		}
	}
	if got := fmt.Sprint((*Retry)(nil).Tries(), (&Retry{}).Tries(), (&Retry{Attempts: 7}).Tries()); got != "1 3 7" {
		t.Errorf("attempts in all: %s", got)
	}
}
