package hub

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"crony"
)

// TestOfItsOccurrence has runs reported that this server does not know yet. Their ids must be those of what they say that they
// are runs of; what is not due by far is dropped, whatever else is said of it.
func TestOfItsOccurrence(t *testing.T) {
	at := time.Now().UTC().Truncate(time.Second)
	ordinary, own := crony.OccurrenceRunID("u", at, ""), crony.OccurrenceRunID("u", at, "a1")
	far := at.Add(time.Hour)
	for name, c := range map[string]struct {
		id      crony.RunID
		due     time.Time
		doubles crony.RunID
		refused bool
		stored  bool
	}{
		"the occurrence's":               {id: ordinary, due: at, stored: true},
		"the agent's own":                {id: own, due: at, stored: true},
		"another agent's own":            {id: crony.OccurrenceRunID("u", at, "a2"), due: at, refused: true},
		"of another time":                {id: ordinary, due: at.Add(time.Second), refused: true},
		"any":                            {id: newRun(), due: at, refused: true},
		"a double":                       {id: crony.DoubleRunID("u", at, "a1"), due: at, doubles: ordinary, stored: true},
		"a double of the agent's own":    {id: crony.DoubleRunID("u", at, "a1"), due: at, doubles: own, stored: true},
		"a double of nothing":            {id: crony.DoubleRunID("u", at, "a1"), due: at, refused: true},
		"a double of something else":     {id: crony.DoubleRunID("u", at, "a1"), due: at, doubles: newRun(), refused: true},
		"another agent's double":         {id: crony.DoubleRunID("u", at, "a2"), due: at, doubles: ordinary, refused: true},
		"a double under an ordinary id":  {id: ordinary, due: at, doubles: ordinary, refused: true},
		"more than a minute ahead":       {id: crony.OccurrenceRunID("u", far, ""), due: far},
		"a double that is as far ahead":  {id: crony.DoubleRunID("u", far, "a1"), due: far, doubles: crony.OccurrenceRunID("u", far, "")},
		"the run in the place of a lost": {id: crony.RerunID("u", at), due: at, stored: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			p := s.connect("a1")
			facts := life("a1", c.id)
			claimed := facts[0].Claimed
			claimed.Trigger, claimed.ScheduledAt, claimed.Doubles, claimed.Unclaimed = crony.BySchedule, c.due, c.doubles, c.doubles != ""
			if c.refused {
				p.send(report(1, facts))
				p.refused(codes.PermissionDenied, "is not of what it says that it is a run of")
			} else {
				p.acked(1, facts)
			}
			if got := s.stateOf(c.id) != ""; got != c.stored {
				t.Errorf("stored: %t, want %t", got, c.stored)
			}
		})
	}
}
