package agent

import (
	"time"

	"crony"
	"crony/internal/wire"
)

// assignment is a job as the servers gave it to the agent: what a run is of.
type assignment struct {
	def      crony.Definition
	epoch    int64
	prepares string        // hash of the script that the run is of, if it is to prepare the host
	asked    time.Duration // by the lease's clock, when the run was claimed; of jobs for which that counts
}

// leased says whether what was claimed of a job starts only while the servers can't have given the agent up.
func leased(j *crony.Job) bool {
	return j.OnDisconnect == crony.DisconnectHold || j.OnDisconnect == crony.DisconnectStop
}

// packed is the text of a definition: two hundred bytes where the definition itself takes most of a thousand. It is unpacked
// for each run.
type packed string

// essence is what is packed of a definition, under the same keys. Who made it and when, and what only people read, is nothing
// to an agent; labels are, as each run says which its job had.
type essence struct {
	Job        crony.Job        `json:"job"`
	UID        string           `json:"uid"`
	Generation int64            `json:"generation"`
	Calendars  []crony.Calendar `json:"calendars,omitempty"`
}

func pack(def *crony.Definition) packed {
	e := essence{Job: def.Job, UID: def.UID, Generation: def.Generation, Calendars: def.Calendars}
	e.Job.Title, e.Job.Owner, e.Job.Note = "", "", ""
	return packed(wire.Encode(e))
}

func (p packed) unpack() crony.Definition {
	def, err := wire.Decode[crony.Definition]([]byte(p))
	if err != nil {
		panic(err) // pack wrote it
	}
	return def
}
