package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"crony"
	"crony/internal/durable"
	"crony/internal/strict"
)

// Config is the agent's configuration file. Who the agent is, and where servers are, is in its directory.
type Config struct {
	Dir    string            `json:"dir"`  // of the agent's data; /var/lib/crony-agent if empty
	Name   string            `json:"name"` // for people; the hostname if empty
	Labels map[string]string `json:"labels"`
	Weight int               `json:"weight"` // its share of the jobs; 1 if 0

	// MaxJobs is how many jobs the agent may have for it to be given one more that could as well be another's; any number if 0.
	MaxJobs int `json:"max_jobs"`

	// Drain is how long runs may go on when the agent stops, before they are killed; without it they go on, and the next life of
	// the agent takes them up.
	Drain *crony.Duration `json:"drain"`

	// Servers are HOST:PORT of servers' ports for agents, to be tried beside those that the agent has been told of: for when all
	// of them have other addresses now.
	Servers []string `json:"servers"`

	Allow  Allow  `json:"allow"`
	Cgroup string `json:"cgroup"` // directory of a cgroup (v2) below which runs have theirs; the agent's own if empty

	Spool   SpoolConfig   `json:"spool"`
	Metrics MetricsConfig `json:"metrics"`

	Callbacks CallbacksConfig `json:"callbacks"`
}

// CallbacksConfig is about what jobs may call, over HTTP or by gRPC.
type CallbacksConfig struct {
	// AllowLinkLocal lets calls reach link-local addresses, such as 169.254.169.254, where clouds tell a host its credentials.
	AllowLinkLocal bool `json:"allow_link_local"`
}

// SpoolConfig bounds what the agent keeps on its disk until servers have it. Beyond a bound the oldest output goes first; what
// runs have done is always kept.
type SpoolConfig struct {
	Size crony.Size `json:"size"` // that it may take; 1GiB
	Free crony.Size `json:"free"` // that it leaves free of the disk, but no more than 5 % of it; 64MiB
}

// MetricsConfig is about /metrics and /livez. There is no word to be given to read them: they are for this host.
type MetricsConfig struct {
	Listen string `json:"listen"` // HOST:PORT; 127.0.0.1:8473, and nowhere if it is empty
}

const (
	defaultSpool   = crony.GiB
	defaultFree    = 64 * crony.MiB
	defaultMetrics = "127.0.0.1:8473"

	minSpool = 8 * crony.MiB
	minFree  = crony.MiB
)

// ReadConfig reads a configuration file. Its faults are an Invalid error, each with its line.
func ReadConfig(path string) (Config, error) {
	c := Config{Dir: DefaultDir, Spool: SpoolConfig{Size: defaultSpool, Free: defaultFree},
		Metrics: MetricsConfig{Listen: defaultMetrics}}
	data, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	lines, faults := strict.Decode(data, &c)
	if len(faults) == 0 {
		faults = c.faults()
		lines.Locate(faults)
	}
	if len(faults) > 0 {
		return c, &crony.Error{Code: crony.Invalid, Message: path + " is wrong", Faults: faults}
	}
	return c, nil
}

func (c *Config) faults() []crony.Fault {
	var faults []crony.Fault
	if c.Dir == "" {
		faults = append(faults, crony.Fault{Path: "dir", Message: "must be given"})
	}
	for i, address := range c.Servers {
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			faults = append(faults, crony.Fault{Path: fmt.Sprintf("servers[%d]", i),
				Message: fmt.Sprintf("%q is no address", address), Hint: "HOST:PORT"})
		}
	}
	for _, s := range []struct {
		path        string
		size, least crony.Size
	}{{"spool.size", c.Spool.Size, minSpool}, {"spool.free", c.Spool.Free, minFree}} {
		if s.size < s.least {
			faults = append(faults, crony.Fault{Path: s.path, Message: "must be " + s.least.String() + " or more"})
		}
	}
	if host, port, err := net.SplitHostPort(c.Metrics.Listen); c.Metrics.Listen != "" && (err != nil || host == "" || port == "") {
		faults = append(faults, crony.Fault{Path: "metrics.listen", Message: fmt.Sprintf("%q is no address", c.Metrics.Listen),
			Hint: "HOST:PORT, such as " + defaultMetrics + ", or '' for none"})
	}
	switch {
	case c.Cgroup == "":
	case !hasCgroups:
		faults = append(faults, crony.Fault{Path: "cgroup", Message: "there are no cgroups on this platform", Hint: "leave it out"})
	case !filepath.IsAbs(c.Cgroup):
		faults = append(faults, crony.Fault{Path: "cgroup", Message: fmt.Sprintf("%q is no absolute path", c.Cgroup),
			Hint: "as /sys/fs/cgroup/crony"})
	}
	faults = append(faults, c.Allow.faults()...)
	return append(faults, crony.TraitFaults(crony.AgentTraits{Labels: c.Labels, Weight: c.Weight, MaxJobs: c.MaxJobs})...)
}

func (c *Config) drain() time.Duration {
	if c.Drain == nil {
		return -1
	}
	return c.Drain.Std()
}

// Options returns what New takes.
func (c *Config) Options(version string, log *slog.Logger) Options {
	return Options{Dir: c.Dir, Name: c.Name, Labels: c.Labels, Weight: c.Weight, MaxJobs: c.MaxJobs,
		Version: version, Servers: c.Servers, Allow: c.Allow, Cgroup: c.Cgroup, CallLinkLocal: c.Callbacks.AllowLinkLocal,
		Drain: c.drain(), SpoolSize: c.Spool.Size, SpoolFree: c.Spool.Free, MetricsListen: c.Metrics.Listen, Log: log}
}

// Write writes the file that says c, unless there is one: that is somebody's, and Conflict.
func (c *Config) Write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return crony.Errorf(crony.Conflict, "%s is there already", path).WithHint("write into it what the agent is to be called")
	}
	text, err := yaml.Marshal(c.said())
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	return durable.WriteFile(path, append([]byte("# Written when this host joined the cluster.\n"), text...), 0o644)
}

// said is what is not as it would be without being said.
func (c *Config) said() map[string]any {
	said := map[string]any{"dir": c.Dir}
	if c.Name != "" {
		said["name"] = c.Name
	}
	if len(c.Labels) > 0 {
		said["labels"] = c.Labels
	}
	if c.Weight != 0 {
		said["weight"] = c.Weight
	}
	if c.MaxJobs != 0 {
		said["max_jobs"] = c.MaxJobs
	}
	return said
}
