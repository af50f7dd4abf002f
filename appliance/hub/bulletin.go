package hub

import (
	"context"
	"slices"

	"crony/internal/pki"
	"crony/internal/wire"
)

// bulletin is what every agent is told beside its jobs: whom to trust, and where the servers are. It does not change; another
// takes its place on the board.
type bulletin struct {
	roots   string // PEM
	issuer  string
	servers []place
	anchors []*pki.Root   // the roots, read
	over    chan struct{} // closed when another has taken its place
}

type place struct{ id, address, url string }

// Roots implements [pki.Anchors].
func (b *bulletin) Roots() []*pki.Root { return b.anchors }

// refresh puts what is so now on the board, unless that is there already, and returns what is there.
func (h *Hub) refresh() *bulletin {
	h.posting.Lock()
	defer h.posting.Unlock()
	next, now := &bulletin{over: make(chan struct{})}, h.board.Load()
	if h.opts.Trust != nil {
		roots, issuer := h.opts.Trust()
		next.roots, next.issuer = string(roots), issuer
	}
	for _, s := range h.reachable() {
		next.servers = append(next.servers, place{s.ID, s.Agents, s.People})
	}
	if now != nil && now.roots == next.roots && now.issuer == next.issuer && slices.Equal(now.servers, next.servers) {
		return now
	}
	if err := next.read(now); err != nil {
		h.log.Error("the authorities to trust can't be read", "err", err)
	}
	h.board.Store(next)
	if now != nil {
		close(now.over)
	}
	return next
}

// read reads the roots, which are mostly those of before.
func (b *bulletin) read(before *bulletin) (err error) {
	switch {
	case b.roots == "":
	case before != nil && before.roots == b.roots:
		b.anchors = before.anchors
	default:
		b.anchors, err = pki.ParseRoots([]byte(b.roots))
	}
	return err
}

// since returns the messages for an agent that knows what an earlier bulletin said. What there is nothing of is not told: an
// agent that hears of no server would know of none.
func (b *bulletin) since(old *bulletin) []*wire.FromServer {
	var list []*wire.FromServer
	if len(b.anchors) > 0 && (b.roots != old.roots || b.issuer != old.issuer) {
		list = append(list, &wire.FromServer{Kind: &wire.FromServer_Trust{Trust: &wire.Trust{
			Authorities: []byte(b.roots), Issuer: b.issuer}}})
	}
	if len(b.servers) > 0 && !slices.Equal(b.servers, old.servers) {
		msg := &wire.Servers{}
		for _, p := range b.servers {
			msg.Servers = append(msg.Servers, &wire.Server{Id: p.id, Address: p.address, Url: p.url})
		}
		list = append(list, &wire.FromServer{Kind: &wire.FromServer_Servers{Servers: msg}})
	}
	return list
}

// issuerOf returns the fingerprint of the authority that signed the caller's certificate, "" if it is not on the bulletin.
func (b *bulletin) issuerOf(ctx context.Context) string {
	state, ok := connection(ctx)
	if !ok || len(state.VerifiedChains) == 0 {
		return ""
	}
	return pki.Issuer(state.VerifiedChains[0][0], b)
}
