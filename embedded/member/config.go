package member

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/pkg/v3/featuregate"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/features"
	"go.uber.org/zap"

	"crony"
	"crony/internal/pki"
)

// Peer says how members reach each other: TLS 1.3, with certificates of the cluster's authority on both sides that are
// servers', wherever they come from. The files are read anew for each connection, so that renewing them needs no restart.
type Peer struct {
	Listen    string // IP:PORT; with port 0 a free one is taken
	Advertise string // HOST:PORT as the others reach it; the listener's own address if empty
	CertFile  string // PEM; may be the same file as KeyFile
	KeyFile   string // PEM
	CAFile    string // PEM
}

// The settings that are the same for every member.
const (
	// How long nothing can be decided when the leader dies is up to these. Claims are made more than two seconds ahead of their
	// time, so that an election costs no start its time; what is decided when it is due, because a run may be in its way, waits
	// for each. Measured on one machine an election takes about 0.6 s. A heartbeat of 20 ms would be quicker still, but a disk
	// that stalls for 200 ms, as many do, would then cost a leader.
	heartbeatMillis = 50
	electionMillis  = 500

	// The store holds definitions and what is decided about them, not history: it is small. The quota bounds the revisions
	// between two compactions, about 7 million at 300 bytes each.
	defaultQuotaBytes = 2 << 30

	// Watches resume from a revision after a pause; this is how long a pause may be. Whoever was away for longer lists anew.
	compactAfter = "5m"

	maxTxnOps       = 1 << 14 // claims are decided, and a manifest is applied, many in a transaction
	maxRequestBytes = 8 << 20 // a manifest of 4 MiB, and room to spare
)

// nowhere is the address of a member that doesn't listen: it must have one, but nobody can dial it.
const nowhere = "127.0.0.1:0"

func (o *Options) validate() error {
	var faults []error
	if o.Dir == "" {
		faults = append(faults, errors.New("no data directory is given"))
	}
	if o.Log == nil {
		faults = append(faults, errors.New("no logger is given"))
	}
	if err := o.Server.Validate(); err != nil {
		faults = append(faults, err)
	} else if o.Server.Role != pki.Server {
		faults = append(faults, errors.New("the identity is not a server's"))
	}
	if o.QuotaBytes < 0 {
		faults = append(faults, errors.New("the quota is negative"))
	}
	faults = append(faults, o.Peer.validate(), o.validateJoin())
	if err := errors.Join(faults...); err != nil {
		return &crony.Error{Code: crony.Invalid, Message: "the store's member can't be opened: " + err.Error(), Err: err}
	}
	return nil
}

func (o *Options) validateJoin() error {
	switch {
	case len(o.Members) == 0:
		return nil
	case o.Create:
		return errors.New("a member is either the first of a new cluster or joins one")
	case o.Peer.address() == "":
		return errors.New("who joins a cluster must know the address at which the others will reach it")
	case o.self() < 0:
		return errors.New("the cluster's members don't include this one, " + o.Peer.address())
	}
	for _, m := range o.Members {
		if err := validateAddress(m.Address); err != nil {
			return err
		}
	}
	return nil
}

// self returns the place of this member among those of the cluster that it joins, or -1. The cluster knows the server of a
// member once that has started.
func (o *Options) self() int {
	return slices.IndexFunc(o.Members, func(m Address) bool {
		return m.Address == o.Peer.address() && (m.Server == "" || m.Server == o.Server.ID)
	})
}

func (p *Peer) validate() error {
	if p.Listen == "" {
		return nil
	}
	listen, err := netip.ParseAddrPort(p.Listen)
	switch {
	case err != nil:
		return errors.New("the address to listen on for members must be IP:PORT, not " + p.Listen)
	case p.CertFile == "" || p.KeyFile == "" || p.CAFile == "":
		return errors.New("members need a certificate, its key and the authority's certificate")
	case p.Advertise == "" && listen.Addr().IsUnspecified():
		return errors.New("members can't dial " + p.Listen + ": an address to advertise is needed")
	case p.Advertise == "":
		return nil
	}
	return validateAddress(p.Advertise)
}

func validateAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || host == "" || n == 0 || strings.ContainsAny(host, " ,=/") {
		return errors.New("the address to advertise to members must be HOST:PORT, not " + address)
	}
	return nil
}

// address is where the others reach this member, as far as that is known before it listens; else "".
func (p *Peer) address() string {
	listen, err := netip.ParseAddrPort(p.Listen)
	if p.Advertise == "" && err == nil && listen.Port() != 0 {
		return p.Listen
	}
	return p.Advertise
}

// config is etcd's for a member whose directory is claimed. What it says of the cluster matters only to a fresh member.
func config(o Options, dir *dataDir, joins bool, log *zap.Logger) (*embed.Config, error) {
	c := embed.NewConfig()
	c.Dir = o.Dir
	c.Name = o.Server.ID
	c.InitialClusterToken = dir.token
	c.ClusterState = embed.ClusterStateFlagNew
	c.InitialCluster = o.Server.ID + "=https://" + nowhere
	c.AdvertisePeerUrls = []url.URL{{Scheme: "https", Host: nowhere}}
	c.ListenPeerUrls, c.ListenClientUrls, c.AdvertiseClientUrls = nil, nil, nil
	c.EnableGRPCGateway = false
	c.AuthToken = "" // nobody logs in
	c.ForceNewCluster = o.force
	switch {
	case joins:
		c.ClusterState = embed.ClusterStateFlagExisting
		c.InitialCluster = o.initialCluster()
		c.AdvertisePeerUrls[0].Host = o.Peer.address()
	case !dir.fresh: // it tells this to whom it calls, and calls others first if it has moved
		c.AdvertisePeerUrls[0].Host = cmp.Or(o.Peer.address(), nowhere)
	}

	c.TickMs, c.ElectionMs, c.PreVote = heartbeatMillis, electionMillis, true
	c.QuotaBackendBytes = cmp.Or(o.QuotaBytes, defaultQuotaBytes)
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, compactAfter
	c.MaxTxnOps, c.MaxRequestBytes = maxTxnOps, maxRequestBytes
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	if o.Peer.Listen != "" {
		c.ListenPeerUrls = []url.URL{{Scheme: "https", Host: o.Peer.Listen}}
		c.PeerTLSInfo = o.Peer.tls()
		c.TlsMinVersion = "TLS1.3"
	}
	gates := featuregate.New(c.Name, log)
	c.ServerFeatureGate = gates
	return c, errors.Join(gates.Add(features.DefaultEtcdServerFeatureGates), gates.SetFromMap(map[string]bool{
		string(features.InitialCorruptCheck): false, // Open does it, after the start
		string(features.CompactHashCheck):    true,
	}))
}

// initialCluster lists the members for one that joins: etcd looks for its own name and matches the others by their addresses.
func (o *Options) initialCluster() string {
	list := make([]string, len(o.Members))
	for i, m := range o.Members {
		name := "member-" + strconv.Itoa(i)
		if i == o.self() {
			name = o.Server.ID
		}
		list[i] = name + "=https://" + m.Address
	}
	return strings.Join(list, ",")
}

// tls has both sides verify that the other is a server, by the name that the authority gives to servers alone; an agent has
// a certificate of the same authority. Addresses are not compared with certificates.
func (p *Peer) tls() transport.TLSInfo {
	return transport.TLSInfo{
		CertFile:            p.CertFile,
		KeyFile:             p.KeyFile,
		TrustedCAFile:       p.CAFile,
		ClientCertAuth:      true,
		ServerName:          pki.ServerName,
		AllowedHostnames:    []string{pki.ServerName},
		SkipClientSANVerify: true,
	}
}
