package judge

import "time"

// names says whether a job is due at an instant.
func (j *Job) names(at time.Time) bool { return mod(at.Add(-j.Offset), j.Every) == 0 }

// after is the first occurrence after an instant.
func (j *Job) after(at time.Time) time.Time { return at.Add(j.Every - mod(at.Add(-j.Offset), j.Every)) }

// count is how many occurrences there are from one on, up to another instant.
func (j *Job) count(from, to time.Time) int64 {
	if to.Before(from) {
		return 0
	}
	return int64(to.Sub(from)/j.Every) + 1
}

func mod(at time.Time, every time.Duration) time.Duration {
	return time.Duration(((at.UnixNano() % int64(every)) + int64(every)) % int64(every))
}
