package testhosts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crony"
)

// long skips a test that is not part of every run: `make hosts` runs them all.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("CRONY_HOSTS") == "" {
		t.Skip("takes minutes; make hosts runs it")
	}
}

// TestThreeServers forms a cluster as its documentation says, runs jobs on it, and kills the server that leads.
func TestThreeServers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	f := newFleet(t, 3, 1)
	jobs := f.secondly(2)
	leader := f.leader()
	leader.proc.Kill()
	leader.gone = true
	f.runOn(jobs)
	f.leader(leader)
	leader.gone = false
	f.start(leader)
	f.ready(leader)
	f.Wait(time.Minute, "three servers", func() bool { return f.up() == 3 })
	f.Wait(2*time.Minute, "run logs that hold the same", func() bool { return f.alike(time.Time{}) })
}

// TestGuarantees does to a cluster of three what the table of guarantees speaks of, one thing after the other, while jobs come due
// each second: none may be left out, and none may run twice.
func TestGuarantees(t *testing.T) {
	long(t)
	f := newFleet(t, 3, 2)
	f.must(f.first(), "job", "apply", "-f", f.file("marker.yaml", "jobs: [{name: marker, schedule: '@yearly', shell: {command: 'true'}}]"))
	jobs := f.secondly(6)

	whole := func(t *testing.T) {
		t.Helper()
		f.Wait(time.Minute, "the cluster to be whole again", func() bool { return f.up() == 3 && f.connected() == 2 })
	}
	event := func(name string, act func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			f.t = t
			act(t)
			whole(t)
			f.unbroken(jobs)
		})
		f.t = t
	}
	others := func(s *server) *server {
		for _, x := range f.servers {
			if x != s {
				return x
			}
		}
		return nil
	}

	event("the leader is killed", func(t *testing.T) {
		leader := f.leader()
		leader.proc.Kill()
		leader.gone = true
		took := f.writable(others(leader))
		t.Logf("writes after %s", took.Round(time.Millisecond))
		if took > 3*time.Second {
			t.Errorf("writes resumed after %s", took)
		}
		f.unbroken(jobs)
		leader.gone = false
		f.start(leader)
		f.ready(leader)
	})
	event("the server of an agent is killed", func(*testing.T) {
		s := f.holding(f.agents[0])
		s.proc.Kill()
		f.unbroken(jobs)
		f.start(s)
		f.ready(s)
	})
	event("the leader is frozen", func(t *testing.T) {
		leader := f.leader()
		leader.proc.Freeze()
		leader.gone = true
		took := f.writable(others(leader))
		t.Logf("writes after %s", took.Round(time.Millisecond))
		f.unbroken(jobs)
		leader.gone = false
		leader.proc.Thaw()
	})
	event("the leader is alone", func(t *testing.T) {
		leader := f.leader()
		leader.CutOff()
		leader.gone = true
		f.writable(others(leader))
		f.unbroken(jobs)
		if _, err := f.ask(leader, "job", "pause", "marker"); err == nil {
			t.Error("a server that is alone takes a change")
		}
		leader.gone = false
		leader.Heal()
	})
	event("a follower is alone", func(*testing.T) {
		s := others(f.leader())
		s.LinkDown()
		s.gone = true
		f.unbroken(jobs)
		s.gone = false
		s.LinkUp()
	})
	event("two servers do not see each other", func(*testing.T) {
		leader := f.leader()
		f.servers[(index(f.servers, leader)+1)%3].CutOff(f.servers[(index(f.servers, leader)+2)%3].Host)
		f.unbroken(jobs)
		f.servers[(index(f.servers, leader)+1)%3].Heal()
	})
	event("the leader loses a third of its packets", func(*testing.T) {
		leader := f.leader()
		leader.Lose(30)
		f.unbroken(jobs)
		leader.Heal()
	})
	event("a slow disk", func(*testing.T) {
		end := f.leader().proc.Fault("fsync,fdatasync:delay_enter=300000")
		f.unbroken(jobs)
		end()
	})
	event("a disk that fails", func(t *testing.T) {
		s := f.leader()
		s.proc.Fault("fsync,fdatasync:error=EIO:when=20+")
		select {
		case <-s.proc.Ended():
		case <-time.After(30 * time.Second):
			t.Error("a server whose disk fails goes on")
			s.proc.Kill()
		}
		s.gone = true
		f.unbroken(jobs)
		s.gone = false
		f.start(s)
		f.ready(s)
	})
	event("a full disk", func(t *testing.T) {
		s := f.servers[2]
		fill := filepath.Join(s.data, "fill")
		if out, err := exec.Command("dd", "if=/dev/zero", "of="+fill, "bs=1M").CombinedOutput(); err == nil {
			t.Fatalf("the disk is not full: %s", out)
		}
		s.gone = true
		f.unbroken(jobs)
		f.unbroken(jobs)
		if err := os.Remove(fill); err != nil {
			t.Fatal(err)
		}
		s.gone = false
		select {
		case <-s.proc.Ended(): // its store could not write, and must not go on
			f.start(s)
		default:
		}
		f.ready(s)
	})
	event("servers stop and start, one after the other", func(t *testing.T) {
		for _, s := range f.servers {
			began := time.Now()
			if err := s.proc.Stop(20 * time.Second); err != nil {
				t.Errorf("%s: %v", s.Name, err)
			}
			t.Logf("%s stopped in %s", s.Name, time.Since(began).Round(time.Millisecond))
			f.start(s)
			f.ready(s)
			whole(t)
		}
	})
	event("the leadership is handed over", func(t *testing.T) {
		leader := f.leader()
		to := others(leader)
		f.must(leader, "cluster", "transfer", to.Name)
		if now := f.leader(); now != to {
			t.Errorf("%s leads, not %s", now.Name, to.Name)
		}
	})
	event("the agent is killed", func(*testing.T) {
		f.agents[0].proc.Kill()
		f.startAgent(f.agents[0])
	})

	// With all of them losing a third, there may be no quorum for long; it is no silent stop, and nothing runs twice.
	t.Run("all lose a third of their packets", func(t *testing.T) {
		f.t = t
		for _, s := range f.servers {
			s.Lose(30)
		}
		time.Sleep(15 * time.Second)
		for _, s := range f.servers {
			s.Heal()
		}
		whole(t)
		f.runOn(jobs)
	})
}

func index(list []*server, s *server) int {
	for i, x := range list {
		if x == s {
			return i
		}
	}
	return -1
}

func (f *fleet) file(name, text string) string {
	f.t.Helper()
	file := filepath.Join(f.Dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return file
}

// TestServersComeAndGo loses two of five servers, shrinks the cluster to three, replaces a dead one, moves one to another address,
// and lets nobody in who was removed, has lost its data, or has a token that is used up.
func TestServersComeAndGo(t *testing.T) {
	long(t)
	f := newFleet(t, 5, 1)
	jobs := f.secondly(2)
	status, _ := f.status(f.first())
	if len(status.Servers) != 5 || status.Quorum != 3 || len(status.Warnings) > 0 {
		t.Errorf("of five servers: %+v", status)
	}

	// Five stand the loss of two.
	two := f.servers[3:]
	for _, s := range two {
		s.proc.Kill()
	}
	f.token("agent") // is a write
	f.unbroken(jobs)
	for _, s := range two {
		f.start(s)
	}
	f.Wait(time.Minute, "five servers", func() bool { return f.up() == 5 })

	// Four are no better than three, and the cluster says so.
	fifth := f.servers[4]
	f.must(f.first(), "cluster", "remove", fifth.Name, "--yes")
	fifth.gone = true
	f.Wait(20*time.Second, "a warning of four servers", func() bool {
		status, _ := f.status(f.first())
		return strings.Contains(strings.Join(status.Warnings, "\n"), "4 servers stand no more failures than 3")
	})

	// One is removed: it ends, and does not start again.
	last := f.servers[3]
	f.must(f.first(), "cluster", "remove", last.Name, "--yes")
	last.gone = true
	f.Wait(20*time.Second, "the removed server to end", func() bool {
		select {
		case <-last.proc.Ended():
			return true
		default:
			return false
		}
	})
	if _, complaint, err := last.Run(nil, filepath.Join(f.bin, "crony"), "server", "-c", last.conf); err == nil ||
		!strings.Contains(complaint, "was removed from its cluster") {
		t.Errorf("a removed server starts: %v %s", err, complaint)
	}

	// A disk is lost: an empty directory is no new cluster. The host takes its own place.
	dead := f.servers[2]
	dead.proc.Kill()
	dead.gone = true
	f.wipe(dead)
	if _, complaint, err := dead.Run(nil, filepath.Join(f.bin, "crony"), "server", "-c", dead.conf); err == nil ||
		!strings.Contains(complaint, "holds no server") {
		t.Errorf("an empty directory: %v %s", err, complaint)
	}
	used := f.token("server")
	if _, complaint, err := dead.Run(nil, filepath.Join(f.bin, "crony"), "cluster", "join", f.first().url(), "--token", used, "-c", dead.conf); err == nil ||
		!strings.Contains(complaint, "--replace") {
		t.Errorf("a second server of a name: %v %s", err, complaint)
	}
	f.Wait(30*time.Second, "the dead server to be seen as down", func() bool { return f.up() == 2 })
	f.joinServer(dead, "--replace", dead.Name)
	dead.gone = false
	f.Wait(time.Minute, "three servers", func() bool { return f.up() == 3 })
	status, _ = f.status(f.first())
	if len(status.Servers) != 3 || status.Quorum != 2 {
		t.Errorf("after it was replaced: %+v", status)
	}

	// A server moves.
	moved := f.servers[1]
	if err := moved.proc.Stop(20 * time.Second); err != nil {
		t.Error(err)
	}
	moved.MoveTo("10.77.0.99")
	f.start(moved)
	f.Wait(time.Minute, "the server to be back at another address", func() bool {
		status, _ := f.status(f.first())
		for _, s := range status.Servers {
			if s.Name == moved.Name && s.Peer == "10.77.0.99:8472" && s.State == crony.ServerUp {
				return true
			}
		}
		return false
	})
	f.unbroken(jobs)

	// Tokens: a used one, one for the other role.
	for what, c := range map[string]struct{ program, token, want string }{
		"an agent's for a server": {"crony cluster join", f.token("agent"), "this join token is for agents"},
		"a server's for an agent": {"crony-agent join", f.token("server"), "for servers"},
		"nonsense":                {"crony-agent join", "abc", "not a join token"},
	} {
		args := strings.Fields(c.program)
		h := f.agents[0].Host
		conf := f.file("other.yaml", "dir: "+filepath.Join(f.Dir, "other"))
		_, complaint, err := h.Run(nil, filepath.Join(f.bin, args[0]), append(args[1:], f.first().url(), "--token", c.token, "-c", conf)...)
		if err == nil || !strings.Contains(complaint, c.want) {
			t.Errorf("%s: %v %s", what, err, complaint)
		}
	}
}

// TestDisasters loses the quorum for good, and then everything, and gets out of both.
func TestDisasters(t *testing.T) {
	long(t)
	f := newFleet(t, 3, 1)
	jobs := f.secondly(2)
	survivor := f.servers[0]
	key := f.recoveryKey()

	archive := filepath.Join(f.Dir, "backup.crony")
	f.must(survivor, "backup", "create", archive)
	t.Log(f.must(survivor, "backup", "verify", archive, "--key-file", key))

	// Two of three are lost.
	for _, s := range f.servers[1:] {
		s.proc.Kill()
		s.gone = true
	}
	if _, err := f.ask(survivor, "job", "pause", jobs[0]); err == nil {
		t.Error("one server of three takes a change")
	}
	if err := survivor.proc.Stop(30 * time.Second); err != nil {
		t.Error(err)
	}
	preview := f.run(survivor.Host, "crony", "cluster", "recover", "-c", survivor.conf)
	if !strings.Contains(preview, "--yes") {
		t.Errorf("the preview does not say how to go on: %s", preview)
	}
	t.Log(preview)
	t.Log(f.run(survivor.Host, "crony", "cluster", "recover", "-c", survivor.conf, "--yes"))
	f.start(survivor)
	f.ready(survivor)
	f.Wait(time.Minute, "the agent to be back", func() bool { return f.connected() == 1 })
	f.must(survivor, "job", "resume", jobs[0]) // what was refused without a majority may have been heard all the same
	before := len(f.ticks(jobs[0]))
	f.Wait(30*time.Second, "jobs to run again", func() bool { return len(f.ticks(jobs[0])) > before+2 })
	f.must(survivor, "job", "pause", jobs[0])

	// Everything is lost; the backup is left.
	survivor.proc.Kill()
	for _, s := range f.servers {
		f.wipe(s)
	}
	t.Log(f.run(survivor.Host, "crony", "restore", archive, "--key-file", key, "-c", survivor.conf))
	f.start(survivor)
	f.ready(survivor)
	f.Wait(time.Minute, "the agent to be back by itself", func() bool { return f.connected() == 1 })
	before = len(f.ticks(jobs[0]))
	f.Wait(30*time.Second, "jobs to run again", func() bool { return len(f.ticks(jobs[0])) > before+2 })
	for _, name := range jobs {
		seen := map[time.Time]bool{}
		for _, at := range f.ticks(name) {
			if seen[at] {
				t.Errorf("%s ran twice for %s", name, at)
			}
			seen[at] = true
		}
	}
}

// recoveryKey is the file of the key that opens backups.
func (f *fleet) recoveryKey() string { return filepath.Join(f.Dir, "recovery.key") }

// TestTrust replaces the cluster's authority while jobs come due each second, lets etcd's own tool in, and removes an agent.
func TestTrust(t *testing.T) {
	long(t)
	f := newFleet(t, 3, 2)
	jobs := f.secondly(2)
	before := f.authorities()
	if len(before) != 1 || before[0].Servers != 3 || before[0].Agents != 2 {
		t.Fatalf("at first: %+v", before)
	}
	if out, err := f.ask(f.first(), "cluster", "rotate-ca", "--finish"); err == nil {
		t.Errorf("what was not begun is finished: %s", out)
	}
	f.must(f.first(), "cluster", "rotate-ca")
	f.Wait(time.Minute, "everybody to have a certificate of the new authority", func() bool {
		list := f.authorities()
		return len(list) == 2 && list[0].Current && list[0].Servers == 3 && list[0].Agents == 2
	})
	f.unbroken(jobs)
	_, err := f.ask(f.first(), "cluster", "rotate-ca", "--finish")
	if err == nil || !strings.Contains(err.Error(), "to be restarted") {
		t.Errorf("finished while stores trust the old one alone: %v", err)
	}
	for _, s := range f.servers {
		if err := s.proc.Stop(20 * time.Second); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		f.start(s)
		f.ready(s)
		f.Wait(time.Minute, "the cluster to be whole", func() bool { return f.up() == 3 && f.connected() == 2 })
	}
	f.Wait(time.Minute, "the old authority to be let go", func() bool {
		_, err := f.ask(f.first(), "cluster", "rotate-ca", "--finish")
		return err == nil
	})
	f.Wait(time.Minute, "one authority, and everybody by it", func() bool {
		list := f.authorities()
		return len(list) == 1 && list[0].Fingerprint != before[0].Fingerprint && list[0].Servers == 3 && list[0].Agents == 2
	})
	f.unbroken(jobs)

	// An agent is removed: it is let go of, and its jobs run on the other.
	gone := f.agents[0]
	f.must(f.first(), "agent", "remove", gone.Name, "--yes")
	f.Wait(20*time.Second, "the agent to be refused", func() bool { return gone.proc.Logged("removed from the cluster") })
	f.Wait(20*time.Second, "one agent", func() bool { return f.connected() == 1 })
	f.runOn(jobs)
}

func (f *fleet) authorities() []crony.AuthorityStatus {
	status, _ := f.status(f.first())
	return status.Authorities
}

// TestFullStore fills a store with etcd's own tool until it takes no more: the server makes room by itself.
func TestFullStore(t *testing.T) {
	long(t)
	f := newFleet(t, 1, 0)
	s := f.servers[0]
	if err := s.proc.Stop(20 * time.Second); err != nil {
		t.Error(err)
	}
	f.configure(s, "etcd: {client_listen: '"+s.IP+":2379', quota: 8MiB}")
	f.start(s)
	f.ready(s)
	f.must(s, "job", "apply", "-f", f.file("marker.yaml", "jobs: [{name: marker, schedule: '@yearly', shell: {command: 'true'}}]"))
	pki := filepath.Join(s.data, "pki")
	leaf := filepath.Join(pki, "server.pem")
	value := strings.Repeat("x", 100<<10)
	full := false
	for i := 0; i < 200 && !full; i++ {
		_, complaint, _ := s.Run(nil, "etcdctl", "--endpoints", "https://"+s.IP+":2379", "--cacert", filepath.Join(pki, "ca.crt"),
			"--cert", leaf, "--key", leaf, "put", "/elsewhere", value)
		full = strings.Contains(complaint, "space exceeded")
	}
	if !full {
		t.Fatal("the store is not full")
	}
	f.Wait(time.Minute, "the store to take writes again", func() bool {
		_, err := f.ask(s, "job", "pause", "marker")
		return err == nil
	})
	if !s.proc.Logged("making room") || !s.proc.Logged("takes writes again") {
		t.Error("the log does not tell")
	}
}

// wipe loses all that a server has on its disk, but the disk.
func (f *fleet) wipe(s *server) {
	f.t.Helper()
	entries, err := os.ReadDir(s.data)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.data, e.Name())); err != nil {
			f.t.Fatal(err)
		}
	}
}

// configure adds to a server's configuration.
func (f *fleet) configure(s *server, text string) {
	f.t.Helper()
	config, err := os.ReadFile(s.conf)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(s.conf, append(config, text+"\n"...), 0o600); err != nil {
		f.t.Fatal(err)
	}
}
