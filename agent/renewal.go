package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"crony/internal/wire"
)

// renew asks for a certificate if one is needed, once a stream, and only of a server that has said who signs.
func (l *link) renew() {
	l.mu.Lock()
	issuer, asking := l.issuer, l.asking
	l.mu.Unlock()
	if asking || issuer == "" {
		return
	}
	request, err := l.id.renewal(issuer, l.now())
	if err != nil {
		l.log.Error("no certificate can be asked for", "err", err)
	}
	if request == nil {
		return
	}
	if l.post(&wire.FromAgent{Kind: &wire.FromAgent_Renew{Renew: &wire.Renew{Request: request}}}) {
		l.mu.Lock()
		l.asking = true
		l.mu.Unlock()
	}
}

// certificate takes over a new certificate, and opens the stream anew to show it, at a time of its own: others have theirs at the
// same moment.
func (l *link) certificate(msg *wire.Certificate, end context.CancelCauseFunc) error {
	if msg.GetRefused() != "" {
		return errors.New("the certificate is not renewed: " + msg.GetRefused())
	}
	if err := l.id.renewed(msg.GetChain()); err != nil {
		return err
	}
	l.log.Info("certificate renewed")
	time.AfterFunc(rand.N(renewSpread), func() { end(errRenewed) })
	return nil
}
