package crony

import (
	"context"
	"time"
)

// ServerState is what a server is to its cluster.
type ServerState string

// The states of a server.
const (
	ServerUp      ServerState = "up"      // a voting member that is registered
	ServerJoining ServerState = "joining" // its store is catching up; it has no vote yet
	ServerDown    ServerState = "down"    // a member that is not registered: stopped, cut off or dead
)

// Allowed lists the states.
func (ServerState) Allowed() []string {
	return []string{string(ServerUp), string(ServerJoining), string(ServerDown)}
}

// ServerStatus is a server of the cluster, as the one that answers sees it. What a server says of itself is as it said it when
// it registered, or when it was asked; of one that is down there is little.
type ServerStatus struct {
	ID        string      `json:"id"`   // in its certificate
	Name      string      `json:"name"` // for people
	State     ServerState `json:"state"`
	Leader    bool        `json:"leader"`
	Trouble   string      `json:"trouble,omitempty"` // why it is not well, in plain words
	Version   string      `json:"version,omitempty"`
	Peer      string      `json:"peer"`             // HOST:PORT at which the other servers reach its store
	Agents    string      `json:"agents,omitempty"` // HOST:PORT for agents
	People    string      `json:"people,omitempty"` // URL for people
	StartedAt time.Time   `json:"started_at,omitzero"`
	Connected int         `json:"connected"` // agents that are connected to it

	Behind         int64     `json:"behind"`       // entries of the store's log that it has not applied yet
	StoreSize      Size      `json:"store_size"`   // of its store's file
	StoreInUse     Size      `json:"store_in_use"` // of that, what holds data
	Authority      string    `json:"authority,omitempty"`
	CertificateEnd time.Time `json:"certificate_end,omitzero"`
	Trusts         []string  `json:"trusts,omitempty"` // fingerprints of the authorities that its store trusts since it started

	RunLog *RunLogStatus `json:"run_log,omitempty"` // absent if it is not known
}

// RunLogStatus is how a server's run log stands to those of the others, as the server says itself.
type RunLogStatus struct {
	// Whole says that since the server started its log was compared with those of most servers, and that it lacked nothing then.
	Whole   bool          `json:"whole"`
	Copying int           `json:"copying"`          // days that it is still to copy from others
	Others  []RunLogOther `json:"others,omitempty"` // what it knows of the other voting servers, by id
}

// RunLogOther is what a server knows of the run log of another.
type RunLogOther struct {
	Server        string    `json:"server"`                // its id
	Behind        int       `json:"behind"`                // runs, stretches and batches of records that it is still to be sent
	BehindSince   time.Time `json:"behind_since,omitzero"` // since when the oldest of them waits
	ComparedAt    time.Time `json:"compared_at,omitzero"`  // when the two logs were compared last
	DifferingDays int       `json:"differing_days"`        // of which they did not hold the same then
}

// ClusterStatus is the cluster, as the server that answers sees it.
type ClusterStatus struct {
	ID          string            `json:"id"`
	Server      string            `json:"server"`   // the id of the server that answers
	Leader      string            `json:"leader"`   // the id of the server that leads; "" while none does
	Revision    int64             `json:"revision"` // of the keyspace that it reads at
	Quorum      int               `json:"quorum"`   // how many voting servers must be up
	Servers     []ServerStatus    `json:"servers"`  // by name
	Authorities []AuthorityStatus `json:"authorities"`
	Warnings    []string          `json:"warnings,omitempty"` // what somebody should do something about
}

// AuthorityStatus is a certificate authority that the cluster trusts.
type AuthorityStatus struct {
	Fingerprint string    `json:"fingerprint"` // SHA-256 of its certificate, in hexadecimal
	Current     bool      `json:"current"`     // new certificates are signed by it
	EndsAt      time.Time `json:"ends_at"`
	Servers     int       `json:"servers"` // that are up with a certificate of it
	Agents      int       `json:"agents"`  // that are connected with a certificate of it
}

// RotateStep is a step of replacing the cluster's certificate authority.
type RotateStep string

// The steps. Between them servers and agents renew their certificates by themselves, and both authorities are trusted.
const (
	RotateStart  RotateStep = "start"  // a new authority signs from now on
	RotateFinish RotateStep = "finish" // the old one is trusted no more
)

// Allowed lists the steps.
func (RotateStep) Allowed() []string { return []string{string(RotateStart), string(RotateFinish)} }

// Cluster is what an administrator does with the servers, and with whom the cluster trusts. Servers and agents are named by
// id, or by name where that is unique. Implementations are safe for concurrent use. Errors are of the type [*Error]:
// NotFound for a name that nobody has, Conflict for what can't be done now, each with a hint.
type Cluster interface {
	// ClusterStatus describes the cluster. It answers without a quorum too, from what was last known.
	ClusterStatus(ctx context.Context) (ClusterStatus, error)
	// RemoveServer removes a server for good: its member, its vote, and its certificate's worth. It is refused if those that
	// are left would have no quorum. The server that answers can't remove itself.
	RemoveServer(ctx context.Context, server string) error
	// PromoteServer gives a joining server its vote now, if it has caught up; the leader does so by itself soon.
	PromoteServer(ctx context.Context, server string) error
	// TransferLeadership makes another server lead; any other if none is named.
	TransferLeadership(ctx context.Context, server string) error
	// RotateAuthority takes a step. Finishing is refused, with the names, while servers or connected agents depend on the
	// old authority, unless it is forced.
	RotateAuthority(ctx context.Context, step RotateStep, force bool) error
	// RemoveAgent takes an agent out of the fleet: its certificate is worth nothing from then on, its stream ends, and its
	// jobs are placed anew.
	RemoveAgent(ctx context.Context, agent string) error

	// CreateJoinToken makes a token; its secret is in the answer and nowhere else.
	CreateJoinToken(ctx context.Context, spec JoinTokenSpec) (JoinToken, error)
	// ListJoinTokens returns the tokens that can still be used, by id.
	ListJoinTokens(ctx context.Context) ([]JoinToken, error)
	// DeleteJoinToken makes a token worth nothing.
	DeleteJoinToken(ctx context.Context, id string) error
}

// Tombstone says that a server or an agent was removed from the cluster: whoever shows its certificate is refused.
type Tombstone struct {
	ID   string    `json:"id"`
	Role JoinRole  `json:"role"`
	Name string    `json:"name"`
	At   time.Time `json:"at"`
	By   string    `json:"by,omitempty"`
}
