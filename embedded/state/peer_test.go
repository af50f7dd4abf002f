package state

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
	"crony/embedded/member"
	"crony/internal/pki"
)

// A peer is a member of three with a store on it, in a process of its own, so that it can be killed and frozen while it is
// asked. The process is this test binary, started with a place in its environment. It is asked by lines of JSON.
const peerPlace = "CRONY_STATE_TEST_PEER"

// place is what a peer finds in its environment.
type place struct {
	Dir  string
	ID   string
	Peer member.Peer
}

func (p *place) options() member.Options {
	return member.Options{Dir: p.Dir, Server: pki.Identity{Cluster: "c1", Role: pki.Server, ID: p.ID}, Peer: p.Peer,
		Log: slog.New(slog.DiscardHandler)} // what is done to it is meant
}

// question is one of these.
type question struct {
	N     int
	Claim *Ask
	Move  *Move
	Term  int64  // of the move
	Where string // the job to be settled and looked at
}

type answer struct {
	N          int
	Err        string
	Leads      bool // the peer, when it answered
	Decision   Decision
	Made       bool
	Assignment crony.Assignment
	Cursor     time.Time
	Unheard    int64 // transactions that were made for it, and of which no answer came
}

// unheard is where the count of a question is, in its context.
type unheard struct{}

// ear counts what is not heard of.
type ear struct{ clientv3.KV }

func (e ear) Txn(ctx context.Context) clientv3.Txn {
	return tapped{e.KV.Txn(ctx), ctx, func(ctx context.Context, commit func() (*clientv3.TxnResponse, error)) (*clientv3.TxnResponse, error) {
		resp, err := commit()
		if n, ok := ctx.Value(unheard{}).(*atomic.Int64); ok && err != nil {
			n.Add(1)
		}
		return resp, err
	}}
}

// servePeer is the peer's process. It ends with its input.
func servePeer(text string) error {
	var p place
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := member.Open(ctx, p.options())
	if err != nil {
		return err
	}
	defer m.Close()
	client := clientv3.NewCtxClient(context.Background())
	client.KV, client.Lease, client.Watcher = ear{m.Client().KV}, m.Client().Lease, m.Client().Watcher
	s, err := Open(ctx, Options{Client: client, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer s.Close()
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	say := func(a answer) {
		mu.Lock()
		defer mu.Unlock()
		out.Encode(a) // who is not there to hear it knows of nothing
	}
	say(answer{})
	for in := json.NewDecoder(os.Stdin); ; {
		var q question
		if err := in.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		go func() {
			a, err := s.answer(&q)
			if a.N, a.Leads = q.N, m.Leading(); err != nil {
				a.Err = err.Error()
			}
			say(a)
		}()
	}
}

func (s *Store) answer(q *question) (a answer, err error) {
	var n atomic.Int64
	defer func() { a.Unheard = n.Load() }()
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), unheard{}, &n), patience)
	defer cancel()
	switch {
	case q.Claim != nil:
		list, err := s.Claim(ctx, []Ask{*q.Claim})
		if err != nil {
			return a, err
		}
		a.Decision = list[0]
	case q.Move != nil:
		made, err := s.Place(ctx, Term{q.Term}, []Move{*q.Move})
		if err != nil {
			return a, err
		}
		a.Made = len(made) > 0
	case q.Where != "":
		if err := s.sync(ctx); err != nil {
			return a, err
		}
		agent := agentOf(s.mirror.look(q.Where))
		if _, _, err := s.Settle(ctx, agent, q.Where); err != nil {
			return a, err
		}
		j := s.mirror.look(q.Where)
		a.Assignment, a.Cursor = *j.newest(), j.claim.At
	}
	return a, nil
}

// peer is a peer as the test has it.
type peer struct {
	t       *testing.T
	place   place
	writing sync.Mutex

	mu   sync.Mutex // of what follows
	proc *exec.Cmd
	in   io.WriteCloser
	gone chan struct{}
	last int
	open map[int]chan answer
}

// start starts the process and waits until it answers.
func (p *peer) start() {
	p.t.Helper()
	text, err := json.Marshal(p.place)
	if err != nil {
		p.t.Fatal(err)
	}
	proc := exec.Command(os.Args[0])
	proc.Env = append(os.Environ(), peerPlace+"="+string(text))
	proc.Stderr = os.Stderr
	proc.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a frozen one would not see its input end
	in, errIn := proc.StdinPipe()
	out, errOut := proc.StdoutPipe()
	if err := errors.Join(errIn, errOut, proc.Start()); err != nil {
		p.t.Fatal(err)
	}
	gone, up := make(chan struct{}), make(chan answer, 1)
	p.mu.Lock()
	p.proc, p.in, p.gone, p.open = proc, in, gone, map[int]chan answer{0: up}
	p.mu.Unlock()
	go func() {
		defer close(gone)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var a answer
			if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
				p.t.Errorf("%s says %q", p.place.ID, lines.Text())
				continue
			}
			p.mu.Lock()
			heard := p.open[a.N]
			delete(p.open, a.N)
			p.mu.Unlock()
			if heard != nil {
				heard <- a
			}
		}
		proc.Wait() // it was killed
	}()
	p.t.Cleanup(func() { p.kill() })
	select {
	case <-up:
	case <-gone:
		p.t.Errorf("%s ended", p.place.ID)
	case <-time.After(patience):
		p.t.Errorf("%s does not answer", p.place.ID)
	}
}

// ask waits for an answer for a time; with none it is not known what became of it.
func (p *peer) ask(q question, d time.Duration) (answer, error) {
	heard := make(chan answer, 1)
	p.mu.Lock()
	p.last++
	q.N = p.last
	p.open[q.N] = heard
	in, gone := p.in, p.gone
	p.mu.Unlock()
	text, err := json.Marshal(q)
	if err != nil {
		return answer{}, err
	}
	late := time.NewTimer(d)
	defer late.Stop()
	p.writing.Lock()
	_, err = in.Write(append(text, '\n')) // the pipe takes more than is asked of one that is frozen
	p.writing.Unlock()
	if err != nil {
		return answer{}, err
	}
	select {
	case a := <-heard:
		if a.Err != "" {
			return a, errors.New(a.Err)
		}
		return a, nil
	case <-gone:
		return answer{}, errors.New("it is gone")
	case <-late.C:
		return answer{}, errors.New("no answer")
	}
}

func (p *peer) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proc.Process.Signal(s) // it may have ended
}

func (p *peer) freeze() { p.signal(syscall.SIGSTOP) }
func (p *peer) thaw()   { p.signal(syscall.SIGCONT) }

func (p *peer) kill() {
	p.signal(syscall.SIGKILL)
	<-p.gone
}

// three makes a store of three members, has found do something with the first one's, and starts them as peers.
func three(t *testing.T, found func(*Store)) []*peer {
	t.Helper()
	ca, err := pki.NewCA("c1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var peers []*peer
	var members []*member.Member
	for i := range 3 {
		p := place{ID: fmt.Sprintf("s%d", i+1), Peer: member.Peer{Listen: vacant(t, i+1), CAFile: filepath.Join(dir, pki.RootFile)}}
		p.Dir, p.Peer.CertFile = filepath.Join(dir, p.ID), filepath.Join(dir, p.ID+".pem")
		p.Peer.KeyFile = p.Peer.CertFile
		o := p.options()
		leaf, err := ca.Issue(o.Server, nil, time.Now())
		if err := errors.Join(err, os.WriteFile(p.Peer.CAFile, ca.Root().PEM(), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := leaf.Save(p.Peer.CertFile); err != nil {
			t.Fatal(err)
		}
		members = append(members, enrol(t, members, o))
		peers = append(peers, &peer{t: t, place: p})
	}
	s, err := Open(t.Context(), Options{Client: members[0].Client(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	found(s)
	s.Close()
	together(members, func(m *member.Member) { m.Close() })
	together(peers, (*peer).start)
	if t.Failed() {
		t.FailNow()
	}
	return peers
}

// enrol opens the first member, or has another join those that are there.
func enrol(t *testing.T, there []*member.Member, o member.Options) *member.Member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if o.Create = len(there) == 0; !o.Create {
		if err := there[0].Add(ctx, o.Peer.Listen); err != nil {
			t.Fatal(err)
		}
		list, err := there[0].Members(ctx)
		if err != nil {
			t.Fatal(err)
		}
		o.Token = there[0].Token()
		for _, m := range list {
			o.Members = append(o.Members, member.Address{Server: m.Server, Address: m.Address})
		}
	}
	m, err := member.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if o.Create {
		return m
	}
	for err = there[0].Promote(ctx, m.ID()); crony.CodeOf(err) == crony.Conflict && ctx.Err() == nil; err = there[0].Promote(ctx, m.ID()) {
		time.Sleep(20 * time.Millisecond)
	}
	if err := errors.Join(err, m.WaitVoter(ctx)); err != nil {
		t.Fatal(err)
	}
	return m
}

// vacant returns an address at which nobody listens, on a network of loopback that no other process's tests use.
func vacant(t *testing.T, n int) string {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.201.%d:0", 1+os.Getpid()%250, n))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func together[T any](list []T, do func(T)) {
	var all sync.WaitGroup
	for _, x := range list {
		all.Go(func() { do(x) })
	}
	all.Wait()
}

// leading returns the peer that leads, or any if none says so.
func leading(peers []*peer) *peer {
	var at atomic.Pointer[peer]
	at.Store(peers[rand.IntN(len(peers))])
	together(peers, func(p *peer) {
		if a, err := p.ask(question{}, time.Second); err == nil && a.Leads {
			at.Store(p)
		}
	})
	return at.Load()
}

// but returns another peer than one.
func but(peers []*peer, p *peer) *peer { return peers[(slices.Index(peers, p)+1)%len(peers)] }
