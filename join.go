package crony

import (
	"regexp"
	"strings"
	"time"
)

// JoinRole is what a host joins the cluster as.
type JoinRole string

// The roles.
const (
	JoinServer JoinRole = "server"
	JoinAgent  JoinRole = "agent"
)

// Allowed lists the roles.
func (JoinRole) Allowed() []string { return []string{string(JoinServer), string(JoinAgent)} }

// The bounds of join tokens.
const (
	DefaultJoinTTL = time.Hour
	MaxJoinTTL     = 30 * 24 * time.Hour
	MaxJoinUses    = 10000
)

// JoinTokenSpec says which token to make.
type JoinTokenSpec struct {
	For  JoinRole `json:"for"`
	TTL  Duration `json:"ttl,omitempty"`  // [DefaultJoinTTL] if 0; at most [MaxJoinTTL]
	Uses int      `json:"uses,omitempty"` // 1 if 0; at most [MaxJoinUses]
}

// Complete sets the defaults, and returns an Invalid error for what can't be.
func (s *JoinTokenSpec) Complete() error {
	if s.TTL == 0 {
		s.TTL = Duration(DefaultJoinTTL)
	}
	if s.Uses == 0 {
		s.Uses = 1
	}
	switch {
	case s.For != JoinServer && s.For != JoinAgent:
		return Errorf(Invalid, "a join token is for a server or for an agent, not for %q", s.For).
			WithHint("--for server or --for agent")
	case s.TTL < Duration(time.Minute) || s.TTL > Duration(MaxJoinTTL):
		return Errorf(Invalid, "a join token can't be good for %s", s.TTL).WithHint("1m to 30d")
	case s.Uses < 1 || s.Uses > MaxJoinUses:
		return Errorf(Invalid, "a join token can't be used %d times", s.Uses).WithHint("1 to %d", MaxJoinUses)
	}
	return nil
}

// JoinToken is a token at rest: its secret is known only to who made it.
type JoinToken struct {
	ID        string    `json:"id"`
	For       JoinRole  `json:"for"`
	Uses      int       `json:"uses"` // that are left
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by,omitempty"`
	ExpiresAt time.Time `json:"expires_at"`
	Secret    string    `json:"secret,omitempty"` // [JoinSecret.String], only in the answer that makes the token
}

// JoinSecret is what a join token is to the host that uses it: the right to join, and the fingerprint of the authority by
// which the host knows that it talks to the right cluster before it has said a word.
type JoinSecret struct {
	For         JoinRole
	ID          string // of the token
	Random      string // the secret itself
	Fingerprint string // SHA-256 of the authority's certificate, in lower-case hexadecimal
}

// String returns the token as people carry it: cronyjoin_ROLE_ID_RANDOM_FINGERPRINT.
func (s JoinSecret) String() string {
	return strings.Join([]string{joinPrefix, string(s.For), s.ID, s.Random, s.Fingerprint}, "_")
}

const joinPrefix = "cronyjoin"

var joinText = regexp.MustCompile(`^` + joinPrefix + `_(server|agent)_([a-z0-9]{8,32})_([A-Z2-7]{26})_([0-9a-f]{64})$`)

// ParseJoinSecret reads what [JoinSecret.String] wrote. The error never repeats the text, which is a secret.
func ParseJoinSecret(text string) (JoinSecret, error) {
	parts := joinText.FindStringSubmatch(strings.TrimSpace(text))
	if parts == nil {
		return JoinSecret{}, Errorf(Invalid, "this is not a join token").
			WithHint("make one with `crony token create --for server` or `--for agent`, and give it as it is printed")
	}
	return JoinSecret{For: JoinRole(parts[1]), ID: parts[2], Random: parts[3], Fingerprint: parts[4]}, nil
}

// JoinRequest is what a host asks a server for. The key pair is the host's own, and its private half never leaves it.
type JoinRequest struct {
	Token   string `json:"token"`   // [JoinSecret.String]
	Request string `json:"request"` // a certificate request (PKCS #10) as PEM; only its key and its signature are looked at
	Name    string `json:"name"`    // for people: the host's name

	// Replace is the id or the name of a server that is dead: it is removed before this one takes its place.
	Replace string `json:"replace,omitempty"`
}

// JoinAnswer makes a host part of the cluster. The same request made again, with the same key, has the same answer: the
// token is used once.
type JoinAnswer struct {
	Cluster     string   `json:"cluster"`
	ID          string   `json:"id"`                 // the host's, for ever
	Certificate string   `json:"certificate"`        // PEM: the host's, and what links it to the authority
	Authorities string   `json:"authorities"`        // PEM: whom to trust
	Servers     []string `json:"servers"`            // HOST:PORT of the servers' ports for agents
	SealKey     string   `json:"seal_key,omitempty"` // hexadecimal; for a server: it opens what the servers share in secret
}
