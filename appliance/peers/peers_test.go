package peers

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"crony"
	"crony/embedded/member"
	"crony/internal/wire"
)

// store is a member whose cluster is a list.
type store struct {
	members []member.Info
	added   []string
	moved   []uint64
	leads   bool
	broken  error
}

func (s *store) Members(context.Context) ([]member.Info, error) {
	return slices.Clone(s.members), s.broken
}
func (s *store) Defragment() error { return s.broken }
func (s *store) Leading() bool     { return s.leads }
func (s *store) Token() string     { return "token" }

func (s *store) Add(_ context.Context, address string) error {
	s.added = append(s.added, address)
	s.members = append(s.members, member.Info{ID: uint64(len(s.members) + 1), Address: address, Learner: true})
	return nil
}

func (s *store) Transfer(_ context.Context, to uint64) error {
	s.moved = append(s.moved, to)
	return nil
}

func service(t *testing.T, s *store, caller string) *Service {
	t.Helper()
	served, err := New(Options{Self: "s1", Member: s, Status: func() crony.ServerStatus { return crony.ServerStatus{ID: "s1"} },
		RunLog: emptyLog{},
		Caller: func(context.Context) (string, error) { return caller, nil }, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return served
}

// TestAdmit asks to be let in: for the first time, again as the answer was lost, and where another is.
func TestAdmit(t *testing.T) {
	two := []member.Info{{ID: 1, Server: "s1", Address: "h1:8472"}, {ID: 2, Server: "s2", Address: "h2:8472"}}
	for name, c := range map[string]struct {
		members []member.Info
		caller  string
		address string
		added   int
		code    codes.Code
	}{
		"a new one":                       {two, "s3", "h3:8472", 1, codes.OK},
		"again, before it has started":    {append(slices.Clone(two), member.Info{ID: 3, Address: "h3:8472", Learner: true}), "s3", "h3:8472", 0, codes.OK},
		"again, when it has":              {append(slices.Clone(two), member.Info{ID: 3, Server: "s3", Address: "h3:8472"}), "s3", "h3:8472", 0, codes.OK},
		"one that has moved meanwhile":    {append(slices.Clone(two), member.Info{ID: 3, Server: "s3", Address: "h3:8472"}), "s3", "h4:8472", 0, codes.FailedPrecondition},
		"at the address of another":       {two, "s3", "h2:8472", 0, codes.FailedPrecondition},
		"by a server that is the first's": {two, "s2", "h2:8472", 0, codes.OK},
	} {
		s := &store{members: c.members}
		reply, err := service(t, s, c.caller).Admit(t.Context(), &wire.AdmitRequest{Address: c.address})
		if status.Code(err) != c.code || len(s.added) != c.added {
			t.Errorf("%s: %v, added %v", name, err, s.added)
			continue
		}
		if err != nil {
			continue
		}
		self := slices.ContainsFunc(reply.GetMembers(), func(m *wire.Member) bool {
			return m.GetServer() == c.caller && m.GetAddress() == c.address
		})
		if !self || reply.GetToken() != "token" {
			t.Errorf("%s: told of %v", name, reply)
		}
	}
}

// TestTransfer hands over to the one that is named, or to any that has a vote.
func TestTransfer(t *testing.T) {
	s := &store{members: []member.Info{{ID: 1, Server: "s1"}, {ID: 2, Server: "s2", Learner: true}, {ID: 3, Server: "s3"}}}
	served := service(t, s, "s3")
	transfer := func(to string) error {
		_, err := served.Transfer(t.Context(), &wire.TransferRequest{Server: to})
		return err
	}
	if err := transfer(""); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("by one that does not lead: %v", err)
	}
	s.leads = true
	for to, want := range map[string]codes.Code{"": codes.OK, "s3": codes.OK, "s2": codes.FailedPrecondition, "s1": codes.FailedPrecondition, "x": codes.FailedPrecondition} {
		s.moved = nil
		err := transfer(to)
		if status.Code(err) != want || want == codes.OK && !slices.Equal(s.moved, []uint64{3}) {
			t.Errorf("to %q: %v, moved to %v", to, err, s.moved)
		}
	}
}

// TestErrorsTravel has a refusal come back with its code and its words.
func TestErrorsTravel(t *testing.T) {
	for _, e := range []*crony.Error{
		crony.Errorf(crony.Conflict, "not now").WithHint("wait"),
		crony.Errorf(crony.Unavailable, "no quorum"),
		crony.Errorf(crony.NotFound, "nobody"),
	} {
		got := said("h1:8471", refusal(e))
		if crony.CodeOf(got) != e.Code {
			t.Errorf("%v came as %v", e, got)
		}
	}
}
