package appliance

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"crony"
	"crony/internal/strict"
)

// Config is a server's configuration file. What is left out has its default.
type Config struct {
	Dir     string        `json:"dir"`  // of all the server's data; /var/lib/crony
	Name    string        `json:"name"` // for people, unique in the cluster; the host's name
	People  PeopleConfig  `json:"people"`
	Agents  Endpoint      `json:"agents"` // where agents, and the other servers, connect; port 8471
	Peers   Endpoint      `json:"peers"`  // where the other servers' stores connect; port 8472
	Etcd    EtcdConfig    `json:"etcd"`
	RunLog  RunLogConfig  `json:"run_log"`
	Metrics MetricsConfig `json:"metrics"`

	Placement PlacementConfig `json:"placement"`
}

// Endpoint is where a server listens, and where others find it: the two differ behind NAT, and where it listens on all of a
// host's addresses. Both may be templates of go-sockaddr, such as `{{ GetPrivateIP }}:8471`.
type Endpoint struct {
	Listen    string `json:"listen"`    // IP:PORT; all addresses, at the endpoint's own port
	Advertise string `json:"advertise"` // HOST or HOST:PORT; the host's private address, at the port that is listened on
}

// PeopleConfig is the endpoint of people: the web app and the API, by HTTPS.
type PeopleConfig struct {
	Listen    string `json:"listen"`    // as of an [Endpoint]; port 8470
	Advertise string `json:"advertise"` // likewise
	CertFile  string `json:"cert_file"` // PEM, with what links it to its authority; the cluster's own certificate if empty
	KeyFile   string `json:"key_file"`  // PEM; CertFile if empty
}

// EtcdConfig is about the store beneath.
type EtcdConfig struct {
	// ClientListen opens the store to etcd's own tools: IP:PORT. Only a server's certificate is let in, and whoever has one
	// can read and change everything. Closed if empty.
	ClientListen string `json:"client_listen"`
	// Quota is how large the store may grow: 2 GiB if not given, at most 8 GiB. Beyond it nothing can be changed until there is
	// room again, which the leader makes if it can.
	Quota crony.Size `json:"quota"`
}

// RunLogConfig is how much is kept of what ran. All servers should say the same: what one of them lets go of, all do.
type RunLogConfig struct {
	// Keep is how long a day is kept, at least 1d; 90d. What a job's `retention` says can be less, and never more.
	Keep crony.Duration `json:"keep"`
	// Size is how large the files may become, at least 64MiB: beyond it the oldest days go, whatever Keep says. 20GiB, or half
	// of their disk if that is less.
	Size crony.Size `json:"size"`
}

// PlacementConfig is about jobs whose agent is gone. All servers should say the same: the one that leads decides.
type PlacementConfig struct {
	// Grace is how long an agent whose connection broke has to come back before it is down and its jobs move: 3s if not given,
	// at most 1h. One that comes back within it loses nothing; one that comes back later gets nothing back by itself.
	Grace crony.Duration `json:"grace"`
	// Failover says whether shell jobs move that do not say it themselves (`placement.failover`); true.
	Failover *bool `json:"failover"`
}

// MetricsConfig is about /metrics.
type MetricsConfig struct {
	Public bool `json:"public"` // anyone may read them; otherwise only with a token or a session
}

// The defaults.
const (
	defaultDir   = "/var/lib/crony"
	peoplePort   = "8470"
	agentsPort   = "8471"
	peersPort    = "8472"
	allAddresses = "0.0.0.0"

	minQuota = crony.Size(4 << 20)
	maxQuota = crony.Size(8 << 30)
	maxGrace = crony.Duration(time.Hour)
)

// ReadConfig reads a configuration file, and resolves its templates on this host. Its faults are an Invalid error, each with
// its line. An empty path is a file in which nothing is said.
func ReadConfig(path string) (Config, error) {
	var c Config
	var data []byte
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return c, &crony.Error{Code: crony.Invalid, Message: err.Error(), Err: err}
		}
	}
	lines, faults := strict.Decode(data, &c)
	if len(faults) == 0 {
		faults = c.complete()
		lines.Locate(faults)
	}
	if len(faults) > 0 {
		return c, &crony.Error{Code: crony.Invalid, Message: cmp.Or(path, "the configuration") + " is wrong", Faults: faults}
	}
	return c, nil
}

var serverName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$`)

// complete sets the defaults and resolves the templates.
func (c *Config) complete() []crony.Fault {
	var faults []crony.Fault
	fault := func(path, hint string, err error) {
		faults = append(faults, crony.Fault{Path: path, Message: err.Error(), Hint: hint})
	}
	c.Dir = cmp.Or(c.Dir, defaultDir)
	if !filepath.IsAbs(c.Dir) {
		abs, err := filepath.Abs(c.Dir)
		if err != nil {
			fault("dir", "give an absolute path", err)
		}
		c.Dir = abs
	}
	if c.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			fault("name", "give the server a name", err)
		}
		c.Name = name
	}
	if !serverName.MatchString(c.Name) {
		fault("name", "letters, digits, - and ., at most 63", fmt.Errorf("%q is no name for a server", c.Name))
	}
	for _, e := range []struct {
		path, port        string
		listen, advertise *string
	}{
		{"people", peoplePort, &c.People.Listen, &c.People.Advertise},
		{"agents", agentsPort, &c.Agents.Listen, &c.Agents.Advertise},
		{"peers", peersPort, &c.Peers.Listen, &c.Peers.Advertise},
	} {
		var err error
		if *e.listen, err = resolveListen(*e.listen, e.port); err != nil {
			fault(e.path+".listen", "IP:PORT, or a template such as {{ GetPrivateIP }}:"+e.port, err)
			continue
		}
		if *e.advertise, err = resolveAdvertise(*e.advertise, *e.listen); err != nil {
			fault(e.path+".advertise", "HOST or HOST:PORT, as the others reach this server", err)
		}
	}
	if c.Etcd.ClientListen != "" {
		var err error
		if c.Etcd.ClientListen, err = resolveListen(c.Etcd.ClientListen, "2379"); err != nil {
			fault("etcd.client_listen", "IP:PORT", err)
		}
	}
	if c.Etcd.Quota != 0 && (c.Etcd.Quota < minQuota || c.Etcd.Quota > maxQuota) {
		fault("etcd.quota", "4MiB to 8GiB", fmt.Errorf("%s is no quota for a store", c.Etcd.Quota))
	}
	if c.RunLog.Keep != 0 && c.RunLog.Keep < minRunsAge {
		fault("run_log.keep", "at least "+minRunsAge.String()+", as 90d", fmt.Errorf("%s is too short", c.RunLog.Keep))
	}
	if c.RunLog.Size != 0 && c.RunLog.Size < minRunsSize {
		fault("run_log.size", "at least "+minRunsSize.String()+", as 20GiB", fmt.Errorf("%s is too small", c.RunLog.Size))
	}
	if c.Placement.Grace < 0 || c.Placement.Grace > maxGrace {
		fault("placement.grace", "at most 1h, as 3s", fmt.Errorf("%s is out of range", c.Placement.Grace))
	}
	if c.People.CertFile == "" && c.People.KeyFile != "" {
		fault("people.key_file", "give cert_file too", fmt.Errorf("there is a key and no certificate"))
	}
	c.People.KeyFile = cmp.Or(c.People.KeyFile, c.People.CertFile)
	return faults
}
