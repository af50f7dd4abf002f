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
	"net/http"
	"net/url"
	"os"
	"path/filepath"
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
	Leader  string `json:"leader"`
	Servers []struct {
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
		if f.observer.get(asked, "/cluster", nil, &seen) != nil {
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

// runs are the runs of a job that an agent started by itself.
func (o *observer) runs(job string) []judge.Run {
	o.fleet.t.Helper()
	var list []judge.Run
	for _, r := range pages[judge.Run](o, "/runs", url.Values{"job": {job}, "limit": {"200"}}) {
		if r.Unclaimed || r.Doubles != "" {
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
	if err != nil {
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

// follow has etcd's own tool write down each change of claims and assignments from now on. It asks all servers by the port that
// their configuration opens for it, and goes on where it was when it loses one.
func (o *observer) follow() {
	o.fleet.t.Helper()
	o.watch = o.Start("watch", "etcdctl", o.etcdctl("watch", "--rev=1", "--prefix", "-w", "json", "/crony/")...)
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

// claims are the changes that were written down. If the store's history had a hole by then, there are none, and false.
func (o *observer) claims() ([]judge.Change, bool) {
	o.fleet.t.Helper()
	select {
	case <-o.watch.Ended():
		o.fleet.t.Logf("the store's history was not followed to the end: %s", o.watch.Log())
		return nil, false
	default:
	}
	var list []judge.Change
	dec := json.NewDecoder(strings.NewReader(o.watch.Log()))
	for {
		var told struct {
			Events []struct {
				KV struct {
					Key      []byte `json:"key"`
					Value    []byte `json:"value"`
					Revision int64  `json:"mod_revision"`
				} `json:"kv"`
			}
		}
		err := dec.Decode(&told)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // it writes on
			return list, true
		}
		if err != nil {
			o.fleet.t.Fatalf("read the store's history: %v", err)
		}
		for _, e := range told.Events {
			key := strings.TrimPrefix(string(e.KV.Key), "/crony/")
			if strings.HasPrefix(key, "claim/") || strings.HasPrefix(key, "job/") {
				list = append(list, judge.Change{Revision: e.KV.Revision, Key: key, Value: string(e.KV.Value)})
			}
		}
	}
}
