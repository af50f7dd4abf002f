package crony

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
)

// RunID identifies a run: a ULID (https://github.com/ulid/spec), 26 characters of Crockford's base32, whose order is the
// order of the runs' times.
type RunID string

// OccurrenceRunID returns the id of the run of a job's occurrence. It depends on nothing but its arguments, so that the same
// occurrence has the same id wherever it is decided. Agent is "" but for jobs that every agent runs.
func OccurrenceRunID(jobUID string, at time.Time, agent string) RunID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", jobUID, BySchedule, agent, at.UnixNano()))
	return runID(at, [10]byte(sum[:10]))
}

// DoubleRunID returns the id of an occurrence's run that an agent, cut off, has started by itself, when the occurrence was
// decided otherwise meanwhile: the run of its ordinary id is, or may be, another.
func DoubleRunID(jobUID string, at time.Time, agent string) RunID {
	return OccurrenceRunID(jobUID, at, "double:"+agent)
}

// RerunID returns the id of an occurrence's second run, which takes the place of one that was lost. Agent is as for
// [OccurrenceRunID].
func RerunID(jobUID string, at time.Time, agent string) RunID {
	return OccurrenceRunID(jobUID, at, "rerun:"+agent)
}

// Names says whether id is one that a run of what was claimed can have. What did not come of a schedule can have any.
func (c *ClaimedFact) Names(id RunID) bool {
	ordinary := []RunID{OccurrenceRunID(c.JobUID, c.ScheduledAt, ""), OccurrenceRunID(c.JobUID, c.ScheduledAt, c.Agent)}
	switch {
	case c.Doubles != "":
		return c.Trigger == BySchedule && id == DoubleRunID(c.JobUID, c.ScheduledAt, c.Agent) && slices.Contains(ordinary, c.Doubles)
	case c.RerunOf != "":
		again := []RunID{RerunID(c.JobUID, c.ScheduledAt, ""), RerunID(c.JobUID, c.ScheduledAt, c.Agent)}
		return c.Trigger == BySchedule && slices.Contains(again, id)
	case c.Trigger != BySchedule:
		return true
	}
	return slices.Contains(ordinary, id)
}

// NewRunID returns a fresh id for a run that is of no occurrence.
func NewRunID(now time.Time) RunID {
	var entropy [10]byte
	rand.Read(entropy[:])
	return runID(now, entropy)
}

func runID(at time.Time, entropy [10]byte) RunID {
	var id ulid.ULID
	id.SetTime(ulid.Timestamp(at)) //nolint:errcheck // fails from the year 10889 on
	id.SetEntropy(entropy[:])      //nolint:errcheck // fails for a length other than 10
	return RunID(id.String())
}

// ParseRunID checks that s has the form of a run id.
func ParseRunID(s string) (RunID, error) {
	id, err := ulid.ParseStrict(s)
	if err != nil || id.String() != s {
		return "", Errorf(Invalid, "%.40q is not a run's id", s).
			WithHint("a run's id has 26 characters; `crony run list` shows them")
	}
	return RunID(s), nil
}

// Time returns the instant in the id, to the millisecond: when the run was due, or was asked for. It is the zero time if id
// has not the form of a run id.
func (id RunID) Time() time.Time {
	u, err := ulid.ParseStrict(string(id))
	if err != nil {
		return time.Time{}
	}
	return u.Timestamp().UTC()
}
