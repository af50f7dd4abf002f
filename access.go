package crony

import (
	"slices"
	"time"
)

// Role says what a person or a token may do. Each role may do all that the ones before it may.
type Role string

// The roles, the least first.
const (
	Viewer   Role = "viewer"   // reads
	Operator Role = "operator" // starts, pauses and resumes
	Editor   Role = "editor"   // defines and deletes
	Admin    Role = "admin"    // everything else
)

// Allowed lists the roles.
func (Role) Allowed() []string { return []string{"viewer", "operator", "editor", "admin"} }

// Covers says whether r may do what needs the role other.
func (r Role) Covers(other Role) bool {
	at := slices.Index(r.Allowed(), string(r))
	return at >= 0 && at >= slices.Index(r.Allowed(), string(other))
}

// Session is who calls.
type Session struct {
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: never
}
