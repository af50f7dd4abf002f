package appliance

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"

	"crony"
	"crony/internal/pki"
)

// secure puts TLS on the listener for people, unless they come by plain HTTP. Whoever asks for [pki.ServerName] is a host that
// joins, and sees the cluster's own certificate with its authority's; everybody else sees the one that the configuration
// names, or the cluster's if it names none.
func (s *Server) secure(plain net.Listener) (net.Listener, error) {
	if strings.HasPrefix(s.opts.PeopleURL, "http://") {
		return plain, nil
	}
	shown := s.id.own
	if s.opts.CertFile != "" {
		own := &certificate{certFile: s.opts.CertFile, keyFile: s.opts.KeyFile}
		if _, err := own.get(); err != nil {
			return nil, &crony.Error{Code: crony.Invalid, Message: fmt.Sprintf("the certificate for people can't be used: %v", err),
				Hint: "people.cert_file and people.key_file must be PEM files that belong together", Err: err}
		}
		shown = own.get
	}
	return tls.NewListener(plain, &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName == pki.ServerName {
				return s.id.introduction()
			}
			return shown()
		},
	}), nil
}
