package agent

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"crony"
	"crony/internal/pki"
	"crony/internal/strict"
)

// Config is the agent's configuration file.
type Config struct {
	Server   string            `json:"server"`    // HOST:PORT of a server's agent endpoint
	Dir      string            `json:"dir"`       // of the agent's data; /var/lib/crony-agent if empty
	CAFile   string            `json:"ca_file"`   // PEM: the cluster's authority
	CertFile string            `json:"cert_file"` // PEM: the agent's certificate and its key
	Name     string            `json:"name"`      // for people; the hostname if empty
	Labels   map[string]string `json:"labels"`
	Weight   int               `json:"weight"` // its share of the jobs; 1 if 0
	Drain    crony.Duration    `json:"drain"`  // how long runs may go on when the agent stops, before they are killed
}

// ReadConfig reads a configuration file. Its faults are an Invalid error, each with its line.
func ReadConfig(path string) (Config, error) {
	c := Config{Dir: "/var/lib/crony-agent"}
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
	if !isAddress(c.Server) {
		faults = append(faults, crony.Fault{Path: "server", Message: fmt.Sprintf("%q is no address", c.Server), Hint: "HOST:PORT"})
	}
	for _, f := range []struct{ key, value string }{{"dir", c.Dir}, {"ca_file", c.CAFile}, {"cert_file", c.CertFile}} {
		if f.value == "" {
			faults = append(faults, crony.Fault{Path: f.key, Message: "must be given"})
		}
	}
	if c.Weight < 0 {
		faults = append(faults, crony.Fault{Path: "weight", Message: "must be 1 or more"})
	}
	return faults
}

func isAddress(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && portErr == nil && host != "" && n > 0
}

// Options reads the files that c names and returns what New takes.
func (c *Config) Options(version string, log *slog.Logger) (Options, error) {
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		return Options{}, fmt.Errorf("read the authority: %w", err)
	}
	root, err := pki.ParseRoot(text)
	if err != nil {
		return Options{}, fmt.Errorf("read %s: %w", c.CAFile, err)
	}
	leaf, err := pki.OpenLeaf(c.CertFile)
	if err != nil {
		return Options{}, fmt.Errorf("read %s: %w", c.CertFile, err)
	}
	cert, err := leaf.Certificate()
	if err != nil {
		return Options{}, fmt.Errorf("read %s: %w", c.CertFile, err)
	}
	who, err := pki.IdentityOf(cert.Leaf)
	if err != nil {
		return Options{}, fmt.Errorf("read %s: %w", c.CertFile, err)
	}
	if who.Role != pki.Agent || who.Cluster != root.Cluster() {
		return Options{}, crony.Errorf(crony.Invalid, "%s is the certificate of %s", c.CertFile, who).
			WithHint("it must be that of an agent of the cluster %s, whose authority ca_file is", root.Cluster())
	}
	return Options{Dir: c.Dir, ID: who.ID, Name: c.Name, Labels: c.Labels, Weight: c.Weight, Version: version, Server: c.Server,
		TLS: pki.ClientTLS(root, leaf.Certificate), Drain: time.Duration(c.Drain), Log: log}, nil
}
