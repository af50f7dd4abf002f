package state

import (
	"encoding/json"
	"fmt"
	"time"

	"crony"
)

// The keyspace. A name never holds a slash, so that a key has one reading.
const (
	root       = "/crony/"
	nodes      = root + "node/"         // <agent>: crony.Agent; leased
	agents     = root + "agent/"        // <agent>: crony.Agent; <agent>/set: settings; <agent>/seen: a time; see fleet.go
	jobs       = root + "job/"          // <agent>/<job>: assignment
	starts     = root + "once/"         // <job>/<request>: order; leased when it is done
	procs      = root + "proc/"         // <agent>/<job>/<run>: Proc; leased unless it is to be ended
	specs      = root + "spec/"         // <job>: crony.Definition
	history    = root + "spec-history/" // <job>/<generation>: crony.Definition
	calendars  = root + "calendar/"     // <name>: preset
	scripts    = root + "script/"       // <name>: preset
	claims     = root + "claim/"        // <job>, or of mode each <job>/<agent>: claim; see [claimValue]
	locks      = root + "lock/"         // <job>, or of mode each <job>/<agent>: lock
	passes     = root + "ledger/"       // see [Pass.path]: Pass, until it is in the run log
	handlings  = root + "handled/"      // <run>: Handling, until it is in the run log
	handOvers  = root + "handover/"     // <run>: HandOver, until the run has ended
	systems    = root + "system/"       // <agent>/switch: a time; <agent>/get: crony.HostFigures; leased; see hosts.go
	servers    = root + "server/"       // <server>: Server
	ups        = root + "up/"           // <server>: nothing more; leased: the server is up
	rebalance  = root + "rebalance"     // Rebalance
	leader     = root + "leader"        // leadership: who leads
	tombstones = root + "tombstone/"    // <server or agent>: crony.Tombstone
	authority  = root + "authority"     // Authority
	joins      = root + "join/"         // <token>: joinToken; <token>/<hash of a public key>: the id that it joined as; leased
	settings   = root + "setting/"      // <area>: what people set
	tokens     = root + "token/"        // <id>: credential
	sessions   = root + "session/"      // <id>: credential; leased
	kept       = 20                     // generations in a job's history
	fixedTime  = "2006-01-02T15:04:05.000000000Z"
	claimStart = `{"at":"`
)

func assignmentKey(agent, job string) string { return jobs + agent + "/" + job }

// claimKey returns the key of a cursor: of an agent's own, or with "" of the one that all share.
func claimKey(job, agent string) string {
	if agent == "" {
		return claims + job
	}
	return claims + job + "/" + agent
}

func historyKey(job string, generation int64) string {
	return fmt.Sprintf("%s%s/%010d", history, job, generation)
}

// claimValue is put together by hand so that it begins with a time of fixed width: claims then compare as text in the order
// of their times, which is what etcd can compare. Since is when the cursor became an agent's own, zero if all share it.
func claimValue(c crony.Claim, since time.Time) string {
	rest, err := json.Marshal(struct {
		V          int         `json:"v"`
		Run        crony.RunID `json:"run"`
		Agent      string      `json:"agent"`
		Epoch      int64       `json:"epoch"`
		Generation int64       `json:"generation"`
		Since      time.Time   `json:"since,omitzero"`
	}{version, c.Run, c.Agent, c.Epoch, c.Generation, since.UTC()})
	if err != nil {
		panic(fmt.Sprintf("state: encode a claim: %v", err)) // texts and numbers can all be encoded
	}
	return claimsBefore(c.At) + `",` + string(rest[1:])
}

// claimsBefore is greater than every claim of an earlier time and less than every claim of this one, for the years 0 to 9999.
func claimsBefore(at time.Time) string { return claimStart + at.UTC().Format(fixedTime) }

// claimsAfter is greater than every claim of this time and less than every claim of a later one: what follows the time in a
// claim begins with a quotation mark, and the next sign is this one.
func claimsAfter(at time.Time) string { return claimsBefore(at) + "#" }
