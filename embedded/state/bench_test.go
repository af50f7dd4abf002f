package state

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"crony"
)

// ratio reports how fast ours is against a floor that was measured in the same run, in operations a second.
func ratio(b *testing.B, n int, ours, floor time.Duration) {
	b.Helper()
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(n)/ours.Seconds(), "ours/s")
	b.ReportMetric(float64(n)/floor.Seconds(), "floor/s")
	b.ReportMetric(floor.Seconds()/ours.Seconds(), "ratio")
}

// alternate measures ours and the floor in short turns, so that both meet the same weather.
func alternate(n, turn int, ours, floor func(from, to int)) (a, b time.Duration) {
	for from := 0; from < n; from += turn {
		to := min(from+turn, n)
		began := time.Now()
		ours(from, to)
		middle := time.Now()
		floor(from, to)
		a += middle.Sub(began)
		b += time.Since(middle)
	}
	return a, b
}

// BenchmarkClaim decides claims, 64 at a time, against bare transactions of the same 64 nested ones.
func BenchmarkClaim(b *testing.B) {
	r := newRig(b, emptied(b))
	const batch = 64
	var jobs []crony.Job
	var names []string
	for n := range batch {
		jobs = append(jobs, job1(fmt.Sprintf("job-%d", n), ""))
		names = append(names, jobs[n].Name)
	}
	r.define(jobs...)
	r.give("a1", names...)
	asks := make([]Ask, batch)
	for n, name := range names {
		asks[n] = Ask{Job: name, Agent: "a1", Epoch: r.newest(name).Epoch}
		r.put("raw/"+name, claimValue(crony.Claim{At: noon}, time.Time{}))
	}
	var at [2]time.Time
	at[0], at[1] = noon, noon
	b.ResetTimer()
	ours, floor := alternate(b.N, 20, func(from, to int) {
		for range to - from {
			at[0] = r.clock.forward(time.Second)
			for n := range asks {
				asks[n].At = at[0]
			}
			decisions, err := r.Claim(b.Context(), asks)
			if err != nil || !decisions[0].Granted || !decisions[batch-1].Granted {
				b.Fatal(decisions, err)
			}
		}
	}, func(from, to int) {
		for range to - from {
			at[1] = at[1].Add(time.Second)
			ops := make([]clientv3.Op, 0, batch)
			value := claimValue(crony.Claim{At: at[1], Run: "01M7YZMQBG78T7SKDZDQB3Z651", Agent: "a1", Epoch: 1000}, time.Time{})
			for n, name := range names {
				ops = append(ops, clientv3.OpTxn([]clientv3.Cmp{
					clientv3.Compare(clientv3.Value("raw/"+name), "<", value),
					clientv3.Compare(clientv3.ModRevision(assignmentKey("a1", name)), "=", asks[n].Epoch),
				}, []clientv3.Op{clientv3.OpPut("raw/"+name, value)}, nil))
			}
			if _, err := r.client.Txn(b.Context()).Then(ops...).Commit(); err != nil {
				b.Fatal(err)
			}
		}
	})
	ratio(b, b.N*batch, ours, floor)
}

// by64 calls f for each number, 64 at once.
func by64(from, to int, f func(n int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	next.Store(int64(from))
	for range 64 {
		all.Go(func() {
			for n := next.Add(1) - 1; n < int64(to); n = next.Add(1) - 1 {
				f(int(n))
			}
		})
	}
	all.Wait()
}

// BenchmarkRegister registers agents, 64 at once, against bare puts of the same size by as many.
func BenchmarkRegister(b *testing.B) {
	r := newRig(b, emptied(b))
	agent := func(n int) crony.Agent {
		id := fmt.Sprintf("agent%011d", n)
		return crony.Agent{ID: id, Name: id, Hostname: id, OS: "linux", Arch: "amd64", Weight: 1, Since: noon, Server: "s1"}
	}
	value := encodeMarked(agent(0), "QWERTYUIOPASDFGHJKLZXCVBNM")
	b.ResetTimer()
	ours, floor := alternate(b.N, 2000, func(from, to int) {
		by64(from, to, func(n int) {
			if _, err := r.RegisterAgent(b.Context(), agent(n)); err != nil {
				b.Error(err)
			}
		})
	}, func(from, to int) {
		by64(from, to, func(n int) {
			if _, err := r.client.Put(b.Context(), fmt.Sprintf("raw/agent%011d", n), value); err != nil {
				b.Error(err)
			}
		})
	})
	ratio(b, b.N, ours, floor)
}

// BenchmarkApply creates jobs one by one, by 64 at once, against bare puts of the same size by as many.
func BenchmarkApply(b *testing.B) {
	r := newRig(b, emptied(b))
	value := encode(crony.Definition{Job: job1("job-123456", ""), UID: "QWERTYUIOPASDFGHJKLZXCVBNM", CreatedAt: noon, UpdatedAt: noon})
	b.ResetTimer()
	ours, floor := alternate(b.N, 2000, func(from, to int) {
		by64(from, to, func(n int) {
			if _, err := r.Define(b.Context(), crony.Manifest{Jobs: []crony.Job{job1(fmt.Sprintf("job-%06d", n), "")}}, crony.ApplyOptions{}); err != nil {
				b.Error(err)
			}
		})
	}, func(from, to int) {
		by64(from, to, func(n int) {
			if _, err := r.client.Put(b.Context(), fmt.Sprintf("raw/job-%06d", n), value); err != nil {
				b.Error(err)
			}
		})
	})
	ratio(b, b.N, ours, floor)
}

// BenchmarkReads are what many ask for, with 100,000 jobs of 1,000 agents.
func BenchmarkReads(b *testing.B) {
	const n, agents = 100_000, 1000
	m := newMirror(time.Now)
	for i := range n {
		name := fmt.Sprintf("job-%06d", i)
		def := crony.Definition{Job: job1(name, ""), Generation: 1}
		def.Job.Title = fmt.Sprintf("Title %d", i)
		m.jobs.define(name, &def, 1)
		m.jobs.assign(&crony.Assignment{Job: name, Agent: fmt.Sprint("a", i%agents), Generation: 1})
	}
	for i := range agents {
		id := fmt.Sprint("a", i)
		m.agents[id] = crony.Agent{ID: id, Name: id, Weight: 1}
	}
	s := &Store{mirror: m, now: func() time.Time { return noon }}
	for name, read := range map[string]func(){
		"ListJobs": func() { s.ListJobs(b.Context(), crony.JobQuery{Cursor: "job-050000"}) },
		"Search":   func() { s.ListJobs(b.Context(), crony.JobQuery{Search: "title 99999"}) },
		"Agents":   func() { s.ListAgents(b.Context()) },
		"Assigned": func() { s.AssignedTo("a7") },
		"Counts":   func() { s.Counts() },
		"Places":   func() { s.Places() },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				read()
			}
		})
	}
}
