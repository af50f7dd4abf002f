package member

import (
	"errors"
	"net"
	"net/netip"
	"net/url"

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
	// Measured on one machine: with these, a leader's death is over in about half a second. A heartbeat of 20 ms would be
	// quicker still, but a disk that stalls for 200 ms, as many do, would then cost a leader.
	heartbeatMillis = 50
	electionMillis  = 500

	// The store holds definitions and what is decided about them, not history: it is small. The quota bounds the revisions
	// between two compactions, about 7 million at 300 bytes each.
	quotaBytes = 2 << 30

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
	faults = append(faults, o.Peer.validate())
	if err := errors.Join(faults...); err != nil {
		return &crony.Error{Code: crony.Invalid, Message: "the store's member can't be opened: " + err.Error(), Err: err}
	}
	return nil
}

func (p *Peer) validate() error {
	if *p == (Peer{}) {
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
	host, port, err := net.SplitHostPort(p.Advertise)
	if err != nil || host == "" || port == "" || port == "0" {
		return errors.New("the address to advertise to members must be HOST:PORT, not " + p.Advertise)
	}
	return nil
}

func config(o Options, log *zap.Logger) (*embed.Config, error) {
	c := embed.NewConfig()
	c.Dir = o.Dir
	c.Name = o.Server.ID
	c.InitialClusterToken = o.Server.Cluster
	c.ClusterState = embed.ClusterStateFlagNew
	c.InitialCluster = o.Server.ID + "=https://" + nowhere
	c.AdvertisePeerUrls = []url.URL{{Scheme: "https", Host: nowhere}}
	c.ListenPeerUrls, c.ListenClientUrls, c.AdvertiseClientUrls = nil, nil, nil
	c.EnableGRPCGateway = false
	c.AuthToken = "" // nobody logs in

	c.TickMs, c.ElectionMs, c.PreVote = heartbeatMillis, electionMillis, true
	c.QuotaBackendBytes = quotaBytes
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
		string(features.InitialCorruptCheck): true,
		string(features.CompactHashCheck):    true,
	}))
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
