package appliance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crony"
)

func configOf(t *testing.T, text string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "crony.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadConfig(file)
}

func TestConfigDefaults(t *testing.T) {
	c, err := ReadConfig("")
	if err != nil {
		t.Skip("this host has no address but loopback: ", err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"dir":           {c.Dir, "/var/lib/crony"},
		"name":          {c.Name, host},
		"people.listen": {c.People.Listen, "0.0.0.0:8470"},
		"agents.listen": {c.Agents.Listen, "0.0.0.0:8471"},
		"peers.listen":  {c.Peers.Listen, "0.0.0.0:8472"},
		"etcd":          {c.Etcd.ClientListen, ""},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s is %q, want %q", what, pair[0], pair[1])
		}
	}
	if !strings.HasSuffix(c.Agents.Advertise, ":8471") || strings.HasPrefix(c.Agents.Advertise, "0.0.0.0") {
		t.Errorf("agents.advertise is %q", c.Agents.Advertise)
	}
}

const loopback4 = `{{ GetAllInterfaces | include "name" "^lo$" | include "type" "ipv4" | attr "address" }}`

func TestConfigAddresses(t *testing.T) {
	for name, c := range map[string]struct{ endpoint, listen, advertise string }{
		"an address alone":     {`{listen: 10.1.2.3}`, "10.1.2.3:8471", "10.1.2.3:8471"},
		"a port alone":         {`{listen: ":9", advertise: s1}`, "0.0.0.0:9", "s1:9"},
		"another port outside": {`{listen: "10.1.2.3:9", advertise: "s1.example.com:10"}`, "10.1.2.3:9", "s1.example.com:10"},
		"IPv6":                 {`{listen: "[fd00::1]:9"}`, "[fd00::1]:9", "[fd00::1]:9"},
		"IPv6 alone":           {`{listen: "fd00::1"}`, "[fd00::1]:8471", "[fd00::1]:8471"},
		"a template":           {`{listen: '` + loopback4 + `:9'}`, "127.0.0.1:9", "127.0.0.1:9"},
		"advertised template":  {`{listen: "127.0.0.1:9", advertise: '` + loopback4 + `'}`, "127.0.0.1:9", "127.0.0.1:9"},
	} {
		got, err := configOf(t, "people: {listen: 127.0.0.1}\npeers: {listen: 127.0.0.1}\nagents: "+c.endpoint)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Agents.Listen != c.listen || got.Agents.Advertise != c.advertise {
			t.Errorf("%s: %+v", name, got.Agents)
		}
	}
}

func TestConfigFaults(t *testing.T) {
	for text, want := range map[string]string{
		"dri: /tmp":                                      `line 1: dri`,
		"agents: {listen: nonsense:9}":                   `agents.listen: "nonsense:9" is no address to listen on`,
		"agents: {listen: '{{ GetNothing }}'}":           `agents.listen: the template`,
		`agents: {listen: '{{ GetInterfaceIP "x" }}:9'}`: `agents.listen`,
		"agents: {listen: 127.0.0.1, advertise: ':7'}":   `agents.advertise: ":7" is no address that others could reach`,
		"name: a b": `name: "a b" is no name for a server`,
		"people: {listen: 127.0.0.1, key_file: k.pem}": `people.key_file: there is a key and no certificate`,
		"run_log: {keep: 23h}":                         `run_log.keep: 23h is too short (at least 1d, as 90d)`,
		"placement: {grace: 2h}":                       `placement.grace: 2h is out of range (at most 1h, as 3s)`,
		"run_log: {size: 63MiB}":                       `run_log.size: 63MiB is too small (at least 64MiB, as 20GiB)`,
		"etcd: {quota: 1MiB}":                          `etcd.quota: 1MiB is no quota`,
		"etcd: {client_listen: no}":                    `etcd.client_listen: "no:2379" is no address`,
	} {
		_, err := configOf(t, text)
		if crony.CodeOf(err) != crony.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := ReadConfig("/nowhere/crony.yaml"); crony.CodeOf(err) != crony.Invalid || !strings.Contains(err.Error(), "/nowhere/crony.yaml") {
		t.Errorf("no file: %v", err)
	}
}
