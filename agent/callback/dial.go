package callback

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"crony"
)

const (
	dialTime = 30 * time.Second // to connect to one address, or all of a name
	maxPEM   = 1 << 20          // bytes of a file of certificates
)

var errLinkLocal = errors.New("a link-local address: calls do not reach those, unless the agent's configuration says " +
	"`callbacks: {allow_link_local: true}`")

// dialer connects to what calls may reach. An address is looked at when the name has been resolved, so that no name leads
// where the address itself would not be let.
func (c *Caller) dialer() *net.Dialer {
	d := &net.Dialer{Timeout: dialTime, KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	if !c.opts.AllowLinkLocal {
		d.Control = refuseLinkLocal
	}
	return d
}

func refuseLinkLocal(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("look at the address %q: %w", address, err)
	}
	if ip := to.Addr().Unmap(); ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() {
		return errLinkLocal
	}
	return nil
}

// credentials are the TLS options of a call, as its files say now.
type credentials struct {
	config *tls.Config
	sum    [sha256.Size]byte // of all of it: others are another set of connections
}

// readTLS reads the files that a job's TLS options name.
func readTLS(t *crony.TLS) (credentials, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t == nil {
		return credentials{config: config}, nil
	}
	sum := sha256.New()
	read := func(file string) ([]byte, error) {
		data, err := readFile(file)
		fmt.Fprintf(sum, "%d %s %d ", len(file), file, len(data))
		sum.Write(data)
		return data, err
	}
	fmt.Fprintf(sum, "%q ", t.ServerName)
	config.ServerName = t.ServerName
	if t.CAFile != "" {
		data, err := read(t.CAFile)
		if err != nil {
			return credentials{}, fmt.Errorf("read whom to trust: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(data) {
			return credentials{}, fmt.Errorf("read whom to trust: there is no certificate in %s", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, err := read(t.CertFile)
		if err != nil {
			return credentials{}, fmt.Errorf("read the client's certificate: %w", err)
		}
		key, err := read(t.KeyFile)
		if err != nil {
			return credentials{}, fmt.Errorf("read the client's key: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return credentials{}, fmt.Errorf("read the client's certificate from %s and %s: %w", t.CertFile, t.KeyFile, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials{config, [sha256.Size]byte(sum.Sum(nil))}, nil
}

// readFile reads a file, but nothing that is endless or would have to be waited for.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxPEM+1))
	if err == nil && len(data) > maxPEM {
		err = fmt.Errorf("%s has more than %d bytes", path, maxPEM)
	}
	return data, err
}
