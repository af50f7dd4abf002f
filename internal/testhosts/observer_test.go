package testhosts_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"crony/internal/judge"
	"crony/internal/testhosts"
)

// observer is a host that nothing is done to, from which a test asks the servers by their API, as JSON, and reads the store's own
// history with etcd's own tool. What it is told it takes apart by itself: it knows none of crony's types.
type observer struct {
	*testhosts.Host

	fleet  *fleet
	client *http.Client
	token  string
	caFile string            // of the cluster
	names  map[string]string // of agents, by their ids and by their addresses
	watch  *testhosts.Process
}

// observe makes the observer. The fleet must be whole.
func (f *fleet) observe() *observer {
	f.t.Helper()
	o := &observer{Host: f.Add(), fleet: f, names: map[string]string{}}
	text, err := os.ReadFile(filepath.Join(f.servers[0].data, "client.yaml"))
	if err != nil {
		f.t.Fatal(err)
	}
	var config struct {
		Token  string `yaml:"token"`
		CAFile string `yaml:"ca_file"`
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		f.t.Fatal(err)
	}
	if !filepath.IsAbs(config.CAFile) {
		config.CAFile = filepath.Join(f.servers[0].data, config.CAFile)
	}
	o.caFile = config.CAFile
	authority, err := os.ReadFile(config.CAFile)
	if err != nil {
		f.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	o.token = config.Token
	o.client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: o.Dial,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	f.t.Cleanup(o.client.CloseIdleConnections)
	for _, a := range f.agents {
		o.names[a.IP] = a.Name
	}
	for _, a := range o.agents() {
		o.names[a.ID] = a.Name
	}
	return o
}

// agentSeen is an agent as the API shows it.
type agentSeen struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Jobs int    `json:"jobs"`
}

func (o *observer) agents() []agentSeen {
	o.fleet.t.Helper()
	var list []agentSeen
	o.must("/agents", nil, &struct {
		Items *[]agentSeen `json:"items"`
	}{&list})
	return list
}

// clusterSeen is the cluster as the API shows it.
type clusterSeen struct {
	Leader   string `json:"leader"`
	Revision int64  `json:"revision"`
	Servers  []struct {
		ID        string `json:"id"`
		Name      string `json:"name"`
		State     string `json:"state"`
		Connected int    `json:"connected"`
	} `json:"servers"`
}

// leader is the server that leads, as any says who knows; false if none does.
func (o *observer) leader() (*server, bool) {
	for _, asked := range o.fleet.servers {
		var seen clusterSeen
		if o.get(asked, "/cluster", nil, &seen) != nil {
			continue
		}
		for _, r := range seen.Servers {
			for _, s := range o.fleet.servers {
				if r.ID == seen.Leader && r.Name == s.Name {
					return s, true
				}
			}
		}
	}
	return nil, false
}

// whole says whether every server is up, by its own word, and every agent connected.
func (f *fleet) whole() bool {
	for _, asked := range f.servers {
		var seen clusterSeen
		if !f.observer.ready(asked) || f.observer.get(asked, "/cluster", nil, &seen) != nil {
			return false
		}
		up, connected := 0, 0
		for _, s := range seen.Servers {
			connected += s.Connected
			if s.State == "up" {
				up++
			}
		}
		if up != len(f.servers) || connected != len(f.agents) {
			return false
		}
	}
	return true
}

// ready says whether a server reaches a quorum. One that was cut off shows the cluster as it was until it does.
func (o *observer) ready(s *server) bool {
	resp, err := o.client.Get(s.url() + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// get asks a server.
func (o *observer) get(s *server, path string, query url.Values, into any) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.url()+"/api/v1"+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+o.token)
	resp, err := o.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, body)
	}
	return json.Unmarshal(body, into)
}

// must asks the servers in turn until one answers.
func (o *observer) must(path string, query url.Values, into any) {
	o.fleet.t.Helper()
	var last error
	o.fleet.Wait(time.Minute, "an answer to "+path, func() bool {
		for _, s := range o.fleet.servers {
			if last = o.get(s, path, query, into); last == nil {
				return true
			}
		}
		o.fleet.t.Log(last)
		return false
	})
}

// pages reads all pages of a list.
func pages[T any](o *observer, path string, query url.Values) []T {
	o.fleet.t.Helper()
	var all []T
	for {
		var page struct {
			Items []T    `json:"items"`
			Next  string `json:"next"`
		}
		o.must(path, query, &page)
		all = append(all, page.Items...)
		if page.Next == "" {
			return all
		}
		query.Set("cursor", page.Next)
	}
}

// ledger is what became of a job's occurrences in a time, with the agents' names.
func (o *observer) ledger(job string, from, to time.Time) []judge.Entry {
	o.fleet.t.Helper()
	list := pages[judge.Entry](o, "/jobs/"+job+"/ledger", url.Values{"from": {from.Format(time.RFC3339Nano)}, "to": {to.Format(time.RFC3339Nano)},
		"limit": {"200"}})
	for i := range list {
		list[i].Agent = o.name(list[i].Agent)
	}
	return list
}

// runs are the runs of a job that an agent started by itself, and those that were killed.
func (o *observer) runs(job string) []judge.Run {
	o.fleet.t.Helper()
	var list []judge.Run
	for _, r := range pages[judge.Run](o, "/runs", url.Values{"job": {job}, "limit": {"200"}}) {
		if r.Unclaimed || r.Doubles != "" || r.RerunOf != "" || r.State == "killed" {
			r.Agent = o.name(r.Agent)
			list = append(list, r)
		}
	}
	return list
}

func (o *observer) name(of string) string {
	if name, ok := o.names[of]; ok {
		return name
	}
	return of
}

// lines are what the jobs wrote.
func (o *observer) lines(file string) []judge.Line {
	o.fleet.t.Helper()
	in, err := os.Open(file)
	switch {
	case errors.Is(err, fs.ErrNotExist): // nothing has run yet
		return nil
	case err != nil:
		o.fleet.t.Fatal(err)
	}
	defer in.Close()
	var list []judge.Line
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var l judge.Line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			o.fleet.t.Fatalf("a line that no witness wrote: %v: %s", err, lines.Text())
		}
		l.Agent = o.name(l.Agent)
		list = append(list, l)
	}
	if err := lines.Err(); err != nil {
		o.fleet.t.Fatal(err)
	}
	return list
}

// follow has etcd's own tool write down each change of the store from now on. It asks all servers by the port that their configuration
// opens for it. When it ends, as it does when no server leads, it is started again where it was.
func (o *observer) follow() {
	o.fleet.t.Helper()
	stop, over := make(chan struct{}), make(chan struct{})
	o.watch = o.watchFrom(1)
	go func() {
		defer close(over)
		for {
			select {
			case <-stop:
				return
			case <-o.watch.Ended():
				time.Sleep(200 * time.Millisecond)
				o.watch = o.watchFrom(o.history().last + 1)
			}
		}
	}()
	o.fleet.t.Cleanup(func() {
		close(stop)
		<-over
	})
}

func (o *observer) watchFrom(revision int64) *testhosts.Process {
	return o.Start("watch", "etcdctl", o.etcdctl("watch", "--prefix", "-w", "json", "--rev", strconv.FormatInt(revision, 10), "/crony/")...)
}

func (o *observer) etcdctl(args ...string) []string {
	pki := filepath.Join(o.fleet.servers[0].data, "pki")
	var endpoints []string
	for _, s := range o.fleet.servers {
		endpoints = append(endpoints, "https://"+s.IP+":2379")
	}
	return append([]string{"--endpoints", strings.Join(endpoints, ","), "--cacert", filepath.Join(pki, "ca.crt"),
		"--cert", filepath.Join(pki, "server.pem"), "--key", filepath.Join(pki, "server.pem"),
		"--keepalive-time", "2s", "--keepalive-timeout", "2s"}, args...)
}

// history is what was written down of the store's.
type history struct {
	changes []judge.Change // of claims and assignments
	last    int64          // the last revision
	hole    bool           // the store had forgotten some of it before it could be read
}

func (o *observer) history() history {
	data, err := os.ReadFile(filepath.Join(o.Dir, "watch.log"))
	if err != nil {
		return history{}
	}
	var h history
	for line := range strings.Lines(string(data)) {
		var told struct {
			CompactRevision int64
			Events          []struct {
				KV struct {
					Key      []byte `json:"key"`
					Value    []byte `json:"value"`
					Revision int64  `json:"mod_revision"`
				} `json:"kv"`
			}
		}
		if json.Unmarshal([]byte(line), &told) != nil {
			continue // the tool's own words, or the last line, which it still writes
		}
		h.hole = h.hole || told.CompactRevision > 0
		for _, e := range told.Events {
			h.last = max(h.last, e.KV.Revision)
			key := strings.TrimPrefix(string(e.KV.Key), "/crony/")
			if strings.HasPrefix(key, "claim/") || strings.HasPrefix(key, "job/") {
				h.changes = append(h.changes, judge.Change{Revision: e.KV.Revision, Key: key, Value: string(e.KV.Value)})
			}
		}
	}
	return h
}

// claims are the changes of claims and assignments up to now; none if the store had forgotten some of them.
func (o *observer) claims() []judge.Change {
	o.fleet.t.Helper()
	var now clusterSeen
	o.must("/cluster", nil, &now)
	var h history
	o.fleet.Wait(time.Minute, "the store's history", func() bool {
		h = o.history()
		return h.last >= now.Revision || h.hole
	})
	if h.hole {
		o.fleet.t.Log("the store has forgotten some of its history, and claims are not judged")
		return nil
	}
	return h.changes
}
