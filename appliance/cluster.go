package appliance

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"crony"
	"crony/embedded/member"
	"crony/embedded/state"
	"crony/internal/pki"
)

var _ crony.Cluster = (*Server)(nil)

// status is how this server is, as it says itself.
func (s *Server) status() crony.ServerStatus {
	self, store := s.self(), s.member.Status()
	status := crony.ServerStatus{
		ID: s.ID, Name: s.Name, State: crony.ServerUp, Leader: s.member.Leading(), Version: self.Version,
		Peer: self.Peer, Agents: self.Agents, People: self.People, StartedAt: self.StartedAt,
		Behind:    max(0, int64(store.Index)-int64(store.Applied)),
		StoreSize: crony.Size(store.Size), StoreInUse: crony.Size(store.InUse),
		Authority: self.Authority, CertificateEnd: self.CertificateEnd, Trusts: self.Trusts,
	}
	if store.Learner {
		status.State = crony.ServerJoining
	}
	status.Trouble = s.runsTrouble()
	if err := s.member.Ready(); err != nil {
		status.Trouble = err.Error()
	}
	log := s.replica.Status()
	status.RunLog = &log
	return status
}

// Statuses asks each server how it is, all at once. One that does not answer is down; what is known of it is what it
// registered last.
func (s *Server) Statuses(ctx context.Context) []crony.ServerStatus {
	members, err := s.member.Members(ctx)
	if err != nil {
		s.log.Warn("the members are not known", "err", err)
	}
	registered := map[string]state.Server{}
	for _, r := range s.Store.Servers() {
		registered[r.ID] = r
	}
	list := make([]crony.ServerStatus, len(members))
	var asked sync.WaitGroup
	for i, m := range members {
		asked.Go(func() { list[i] = s.ask(ctx, m, registered[m.Server]) })
	}
	asked.Wait()
	agents, _ := s.Store.ListAgents(ctx)
	for i := range list {
		for _, a := range agents {
			if a.Server == list[i].ID {
				list[i].Connected++
			}
		}
	}
	slices.SortFunc(list, func(a, b crony.ServerStatus) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

// ask returns how the server of a member is.
func (s *Server) ask(ctx context.Context, m member.Info, r state.Server) crony.ServerStatus {
	if m.Server == s.ID {
		return s.status()
	}
	down := crony.ServerStatus{ID: m.Server, Name: cmp.Or(r.Name, m.Server, "(not started yet)"), State: crony.ServerDown,
		Peer: m.Address, Version: r.Version, Agents: r.Agents, People: r.People, StartedAt: r.StartedAt,
		Authority: r.Authority, CertificateEnd: r.CertificateEnd}
	if m.Learner {
		down.State = crony.ServerJoining
		down.Trouble = "it has not caught up yet"
		return down
	}
	if !r.Up {
		down.Trouble = "it is not registered: stopped, cut off or dead"
		return down
	}
	status, err := s.peers.Status(ctx, r.Agents)
	if err != nil {
		down.Trouble = err.Error()
		return down
	}
	return status
}

// ClusterStatus implements crony.Cluster.
func (s *Server) ClusterStatus(ctx context.Context) (crony.ClusterStatus, error) {
	status := crony.ClusterStatus{ID: s.Cluster, Server: s.ID, Revision: s.Store.Revision(), Servers: s.Statuses(ctx)}
	voters := 0
	for _, server := range status.Servers {
		if server.State != crony.ServerJoining {
			voters++
		}
		if server.Leader && server.State == crony.ServerUp && s.member.Ready() == nil {
			status.Leader = server.ID
		}
	}
	status.Quorum = voters/2 + 1
	status.Authorities = s.authorities(ctx, status.Servers)
	status.Warnings = warnings(status, voters, s.opts.Now())
	return status, nil
}

func (s *Server) authorities(ctx context.Context, servers []crony.ServerStatus) []crony.AuthorityStatus {
	_, current := s.id.trusted()
	agents, _ := s.Store.ListAgents(ctx)
	var list []crony.AuthorityStatus
	for _, root := range s.id.trust.Roots() {
		a := crony.AuthorityStatus{Fingerprint: root.Fingerprint(), Current: root.Fingerprint() == current, EndsAt: root.EndsAt()}
		for _, server := range servers {
			if server.State == crony.ServerUp && server.Authority == a.Fingerprint {
				a.Servers++
			}
		}
		for _, agent := range agents {
			if agent.Up && agent.Authority == a.Fingerprint {
				a.Agents++
			}
		}
		list = append(list, a)
	}
	return list
}

// warnings says what somebody should do something about.
func warnings(c crony.ClusterStatus, voters int, now time.Time) []string {
	var list []string
	warn := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	up := 0
	for _, s := range c.Servers {
		if s.State == crony.ServerUp {
			up++
		}
	}
	switch {
	case up < c.Quorum:
		warn("%d of %d servers are up and %d are needed: nothing can be changed", up, voters, c.Quorum)
	case voters > 1 && up == c.Quorum && up < voters:
		warn("%d of %d servers are up: if one more fails, nothing can be changed", up, voters)
	}
	switch {
	case voters == 1:
		warn("there is one server: if it fails, nothing can be changed until it is back (join two more)")
	case voters%2 == 0:
		warn("%d servers stand no more failures than %d: join one more, or remove one", voters, voters-1)
	}
	for _, s := range c.Servers {
		if left := s.CertificateEnd.Sub(now); !s.CertificateEnd.IsZero() && left < pki.LeafValidity/6 {
			warn("the certificate of %s ends at %s", s.Name, s.CertificateEnd.Format(time.DateTime))
		}
	}
	list = append(list, logWarnings(c, now)...)
	for _, a := range c.Authorities {
		if left := a.EndsAt.Sub(now); left < 365*24*time.Hour {
			warn("the authority %.16s ends at %s: replace it with `crony cluster rotate-ca`", a.Fingerprint,
				a.EndsAt.Format(time.DateOnly))
		}
	}
	if len(c.Authorities) > 1 {
		warn("the authority is being replaced: finish with `crony cluster rotate-ca --finish`")
	}
	return list
}

// logPatience is how long a run log may lack something before somebody should know.
const logPatience = time.Minute

// logWarnings says whose run log lacks something: what was acknowledged is on the disks of most servers, so that one that has
// it is not to go before the others have it too.
func logWarnings(c crony.ClusterStatus, now time.Time) (list []string) {
	names, behind := map[string]string{}, map[string]time.Time{}
	for _, s := range c.Servers {
		names[s.ID] = s.Name
		if s.RunLog == nil {
			continue
		}
		for _, o := range s.RunLog.Others {
			if since := o.BehindSince; !since.IsZero() && (behind[o.Server].IsZero() || since.Before(behind[o.Server])) {
				behind[o.Server] = since
			}
		}
	}
	for _, s := range c.Servers {
		if log := s.RunLog; log != nil && log.Copying > 0 {
			list = append(list, fmt.Sprintf("the run log of %s is still being copied (%d days are left): don't remove another server now",
				s.Name, log.Copying))
		} else if log != nil && !log.Whole && now.Sub(s.StartedAt) > logPatience {
			list = append(list, fmt.Sprintf("the run log of %s was not compared with those of most servers since it started: "+
				"don't remove another server now", s.Name))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(behind)) {
		if since := behind[id]; now.Sub(since) > logPatience {
			list = append(list, fmt.Sprintf("the run log of %s lacks what others have had since %s: don't remove another server now",
				cmp.Or(names[id], id), since.UTC().Format(time.DateTime)))
		}
	}
	return list
}

// find returns the one server of an id, a name, or an address: one that was admitted and has not started has no more.
func (s *Server) find(ctx context.Context, server string) (crony.ServerStatus, error) {
	var found []crony.ServerStatus
	for _, status := range s.Statuses(ctx) {
		if status.ID == server || status.Peer == server {
			return status, nil
		}
		if status.Name == server {
			found = append(found, status)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return crony.ServerStatus{}, crony.Errorf(crony.NotFound, "there is no server %s", server).
			WithHint("`crony cluster status` lists them")
	}
	return crony.ServerStatus{}, crony.Errorf(crony.Conflict, "%d servers are called %s", len(found), server).
		WithHint("name it by its id")
}

// RemoveServer implements crony.Cluster. The tombstone comes first: whatever happens then, the server is not let in again,
// and to remove it once more finishes the work.
func (s *Server) RemoveServer(ctx context.Context, server string) error {
	target, err := s.find(ctx, server)
	if err != nil {
		return err
	}
	if target.ID == s.ID {
		return crony.Errorf(crony.Conflict, "this server can't remove itself").
			WithHint("ask another one: set CRONY_ADDRESS to its address")
	}
	members, err := s.member.Members(ctx)
	if err != nil {
		return err
	}
	voters, up := 0, 0
	for _, status := range s.Statuses(ctx) {
		if status.ID == target.ID || status.State == crony.ServerJoining {
			continue
		}
		voters++
		if status.State == crony.ServerUp {
			up++
		}
	}
	if target.State != crony.ServerJoining && up < voters/2+1 {
		return crony.Errorf(crony.Conflict, "of the %d servers that would be left %d are up: they would have no quorum", voters, up).
			WithHint("bring another server up first, or see `crony cluster recover`")
	}
	for _, m := range members {
		if m.Server != target.ID || target.ID == "" && m.Address != target.Peer {
			continue
		}
		if target.ID != "" {
			if err := s.Store.Bury(ctx, crony.Tombstone{ID: target.ID, Role: crony.JoinServer, Name: target.Name,
				At: s.opts.Now().UTC(), By: crony.ActorFrom(ctx)}); err != nil {
				return err
			}
		}
		s.log.Warn("server is removed", "removed", target.Name, "id", target.ID, "by", crony.ActorFrom(ctx))
		return s.member.Remove(ctx, m.ID)
	}
	return nil
}

// PromoteServer implements crony.Cluster.
func (s *Server) PromoteServer(ctx context.Context, server string) error {
	target, err := s.find(ctx, server)
	if err != nil {
		return err
	}
	members, err := s.member.Members(ctx)
	if err != nil {
		return err
	}
	for _, m := range members {
		if m.Server != target.ID || m.Address != target.Peer {
			continue
		}
		if !m.Learner {
			return crony.Errorf(crony.Conflict, "%s has its vote already", target.Name)
		}
		return s.member.Promote(ctx, m.ID)
	}
	return crony.Errorf(crony.NotFound, "there is no server %s", server)
}

// TransferLeadership implements crony.Cluster. Only the server that leads can hand over, so it is asked to.
func (s *Server) TransferLeadership(ctx context.Context, server string) error {
	to := ""
	if server != "" {
		target, err := s.find(ctx, server)
		switch {
		case err != nil:
			return err
		case target.Leader:
			return nil
		case target.State != crony.ServerUp:
			return crony.Errorf(crony.Conflict, "%s is not up: it can't lead", target.Name)
		}
		to = target.ID
	}
	for _, status := range s.Statuses(ctx) {
		if status.Leader && status.State == crony.ServerUp {
			return s.peers.Transfer(ctx, s.addressOf(status), to)
		}
	}
	return crony.Errorf(crony.Unavailable, "no server leads").WithHint("most of the servers must be up and see each other")
}

// Defragment has a server defragment its store.
func (s *Server) Defragment(ctx context.Context, id string) error {
	if id == s.ID {
		return s.member.Defragment()
	}
	for _, r := range s.Store.Servers() {
		if r.ID == id {
			return s.peers.Defragment(ctx, r.Agents)
		}
	}
	return crony.Errorf(crony.NotFound, "server %s is not registered", id)
}

// addressOf is where a server answers other servers; its own calls reach it the same way.
func (s *Server) addressOf(status crony.ServerStatus) string {
	if status.ID == s.ID {
		return s.opts.Agents.Addr().String()
	}
	return status.Agents
}

// list joins names, the first few of many.
func list(names []string) string {
	const most = 10
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
