//go:build linux

package agent_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy passes connections on, until it is cut.
type proxy struct {
	to     string
	listen net.Listener
	mu     sync.Mutex
	cut    bool
	mute   bool // what the server says is lost
	conns  map[net.Conn]bool
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: to, listen: l, conns: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(from) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.set(true)
		serving.Wait()
	})
	return p
}

func (p *proxy) address() string { return p.listen.Addr().String() }

func (p *proxy) serve(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer to.Close()
	p.mu.Lock()
	if p.cut {
		p.mu.Unlock()
		return
	}
	p.conns[from], p.conns[to] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { pass(to, from) })
	both.Go(func() { pass(hearing{from, p}, to) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, from)
	delete(p.conns, to)
}

// hearing is the agent's side of a proxy that may be mute.
type hearing struct {
	net.Conn
	p *proxy
}

func (h hearing) Write(data []byte) (int, error) {
	h.p.mu.Lock()
	mute := h.p.mute
	h.p.mu.Unlock()
	if mute {
		return len(data), nil
	}
	return h.Conn.Write(data)
}

func (p *proxy) setMute(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = mute
}

func pass(to, from net.Conn) {
	io.Copy(to, from)
	to.Close()
	from.Close()
}

// set cuts all connections, and those to come, or lets them come again.
func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.conns {
			c.Close()
		}
	}
}
