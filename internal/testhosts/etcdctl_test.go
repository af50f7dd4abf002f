package testhosts_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crony"
)

// etcdctl runs etcd's own tool on a server's host, against its store, with the certificate of a directory.
func (s *server) etcdctl(dir, leaf string, args ...string) (string, string, error) {
	pki := filepath.Join(dir, "pki")
	return s.Run([]string{"ETCDCTL_API=3"}, "etcdctl", append([]string{"--endpoints", "https://" + s.IP + ":2379",
		"--dial-timeout", "3s", "--command-timeout", "5s", "--cacert", filepath.Join(pki, "ca.crt"),
		"--cert", filepath.Join(pki, leaf), "--key", filepath.Join(pki, leaf)}, args...)...)
}

// openStore has a server open its store to etcd's tools.
func (f *fleet) openStore(s *server) {
	f.t.Helper()
	if err := s.proc.Stop(20 * time.Second); err != nil {
		f.t.Error(err)
	}
	f.configure(s, "etcd: {client_listen: '"+s.IP+":2379'}")
	f.start(s)
	f.ready(s)
}

// TestEtcdctl reads the keyspace with etcd's own tool, where the configuration opens it, and with a server's certificate alone;
// and ends a run by it.
func TestEtcdctl(t *testing.T) {
	long(t)
	f := newFleet(t, 1, 1)
	s, a := f.servers[0], f.agents[0]
	keys := []string{"get", "/crony/", "--prefix", "--keys-only"}
	if _, _, err := s.etcdctl(s.data, "server.pem", keys...); err == nil {
		t.Error("a port for etcd's tools is open that nobody asked for")
	}
	f.openStore(s)
	out, complaint, err := s.etcdctl(s.data, "server.pem", keys...)
	if err != nil || !strings.Contains(out, "/crony/authority") || !strings.Contains(out, "/crony/leader") {
		t.Errorf("%v: %s%s", err, out, complaint)
	}
	if out, _, err := s.etcdctl(filepath.Join(a.Dir, "agent"), "agent.pem", keys...); err == nil {
		t.Errorf("an agent reads the keyspace: %s", out)
	}

	run := f.longRun()
	f.Wait(30*time.Second, "the run's process to be in the keyspace", func() bool {
		out, _, _ = s.etcdctl(s.data, "server.pem", "get", "/crony/proc/", "--prefix", "--keys-only")
		return strings.Contains(out, string(run.ID))
	})
	if out, complaint, err := s.etcdctl(s.data, "server.pem", "put", strings.TrimSpace(out), `{"kill":{"by":"root","reason":"by hand"}}`); err != nil {
		t.Fatalf("%v: %s%s", err, out, complaint)
	}
	f.killed(run.ID, "killed by root: by hand")
	f.Wait(30*time.Second, "the order to be gone", func() bool {
		out, _, err := s.etcdctl(s.data, "server.pem", "get", "/crony/proc/", "--prefix", "--keys-only")
		return err == nil && strings.TrimSpace(out) == ""
	})
}

// TestKillThroughAnother ends a run by way of a server that does not hold its agent's stream, while the one that does is killed.
func TestKillThroughAnother(t *testing.T) {
	long(t)
	f := newFleet(t, 3, 1)
	run := f.longRun()
	var holder *server
	f.Wait(30*time.Second, "a server to hold the agent's stream", func() bool {
		holder = f.holding(f.agents[0])
		return holder != nil
	})
	holder.proc.Kill()
	holder.gone = true
	f.Wait(30*time.Second, "the order to be taken", func() bool {
		_, err := f.ask(f.first(), "run", "kill", string(run.ID), "--reason", "stuck")
		return err == nil
	})
	f.killed(run.ID, ": stuck")
}

// longRun starts a run of a few processes, which would go on for long, and returns it when it is under way.
func (f *fleet) longRun() crony.Run {
	f.t.Helper()
	f.must(f.first(), "job", "apply", "-f", f.file("long.yaml", "jobs: [{name: long, shell: {command: 'sleep 1000 & sleep 1000 & wait'}}]"))
	var id string
	f.Wait(30*time.Second, "the job to be placed", func() bool {
		var err error
		id, err = f.ask(f.first(), "run", "start", "long", "-p", "why=test")
		return err == nil
	})
	var run crony.Run
	f.Wait(30*time.Second, "the run to be under way", func() bool {
		out, err := f.ask(f.first(), "run", "show", strings.TrimSpace(id), "-o", "json")
		if err == nil {
			f.decode(out, &run)
		}
		return err == nil && run.State == crony.Running
	})
	if run.Params["why"] != "test" {
		f.t.Errorf("its parameters are %v", run.Params)
	}
	return run
}

// killed waits until a run is on record as killed, for a reason.
func (f *fleet) killed(id crony.RunID, reason string) {
	f.t.Helper()
	var run crony.Run
	f.Wait(time.Minute, "the run to be killed", func() bool {
		out, err := f.ask(f.first(), "run", "show", string(id), "-o", "json")
		if err == nil {
			f.decode(out, &run)
		}
		return err == nil && run.State.Ended()
	})
	if run.State != crony.Killed || !strings.HasSuffix(run.Reason, reason) {
		f.t.Errorf("the run is %s, %s; want killed, %s", run.State, run.Reason, reason)
	}
}
