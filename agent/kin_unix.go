//go:build unix

package agent

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"crony"
)

// treeOf returns the processes of an attempt. The leader is 0 if its pid may be another's.
func (r *runner) treeOf(p *process, leader int) tree {
	if p.cgroup.path != "" {
		return p.cgroup
	}
	return &kin{run: p.run, agent: r.agent, leader: leader, all: r.procs}
}

// kin is the tree of an attempt that has no cgroup: its session and process group, all descendants of these, and whatever else
// has the run's id in its environment. The agent adopts orphans ([adoptOrphans]), so that a descendant stays one. What changes
// its environment and its parents before anybody looks is not found.
type kin struct {
	run    crony.RunID
	agent  string
	leader int // 0 if its pid may be another's by now
	all    *procTable
}

// count implements [tree]. A process that is just taking up another program shows no environment, so that it is looked twice
// before nothing is there.
func (k *kin) count() int {
	n := len(k.processes())
	if n == 0 {
		n = len(k.processes())
	}
	return n
}

func (k *kin) processes() []int { return k.all.look().kin(k) }

// term implements [tree].
func (k *kin) term() { termAll(k.processes()) }

// kill implements [tree].
func (k *kin) kill() { killAll(k.processes()) }

// termAll asks processes to end, those too that are stopped: one of these heeds no signal before it goes on.
func termAll(pids []int) {
	for _, pid := range pids {
		unix.Kill(pid, unix.SIGTERM) //nolint:errcheck // it fails if the process has ended
	}
	for _, pid := range pids {
		unix.Kill(pid, unix.SIGCONT) //nolint:errcheck // likewise
	}
}

func killAll(pids []int) {
	for _, pid := range pids {
		unix.Kill(pid, unix.SIGKILL) //nolint:errcheck // it fails if the process has ended
	}
}

// proc is what is told of one process.
type proc struct {
	pid, parent, group, session int
	environ                     []byte
}

// procTable reads the host's processes for all who want to know. However many they are, there is one who reads, and one reading
// that is yet to begin, for all who have come meanwhile: what it finds is of no time before they asked.
type procTable struct {
	reading *semaphore.Weighted

	mu   sync.Mutex
	next *procList
}

type procList struct {
	read  chan struct{} // closed when it is
	procs []proc
}

func newProcTable() *procTable { return &procTable{reading: semaphore.NewWeighted(1)} }

// look returns the processes of the host, but for those that have ended.
func (t *procTable) look() *procList {
	t.mu.Lock()
	l := t.next
	if l == nil {
		l = &procList{read: make(chan struct{})}
		t.next = l
		go t.fill(l)
	}
	t.mu.Unlock()
	<-l.read
	return l
}

func (t *procTable) fill(l *procList) {
	defer close(l.read)
	if err := t.reading.Acquire(context.Background(), 1); err != nil {
		return // never: the context does not end
	}
	defer t.reading.Release(1)
	t.mu.Lock()
	t.next = nil
	t.mu.Unlock()
	l.procs = readProcs()
}

// kin returns the processes of a tree.
func (l *procList) kin(k *kin) (pids []int) {
	found := map[int]bool{}
	run, agent := []byte(runEnv+string(k.run)), []byte(agentEnv+k.agent)
	for more := true; more; { // until no process has a parent that was found only now
		more = false
		for _, p := range l.procs {
			if found[p.pid] || p.pid == os.Getpid() || p.pid == 1 {
				continue
			}
			if found[p.parent] || k.leader != 0 && (p.session == k.leader || p.group == k.leader) ||
				p.has(run) && p.has(agent) {
				found[p.pid], more = true, true
				pids = append(pids, p.pid)
			}
		}
	}
	return pids
}

// findLeader returns the process that leads the session of an attempt of which only the environment is known; 0 if there is
// none, or it is not shown.
func (*runner) findLeader(run crony.RunID, attempt int) int {
	of, number := []byte(runEnv+string(run)), fmt.Appendf(nil, "CRONY_ATTEMPT=%d", attempt)
	list := readProcs()
	i := slices.IndexFunc(list, func(p proc) bool { return p.session == p.pid && p.has(of) && p.has(number) })
	if i < 0 {
		return 0
	}
	return list[i].pid
}

// has says whether the process has a variable of its environment.
func (p *proc) has(variable []byte) bool {
	return slices.ContainsFunc(bytes.Split(p.environ, []byte{0}), func(v []byte) bool { return bytes.Equal(v, variable) })
}
