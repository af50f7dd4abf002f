// Package pki is the cluster's own certificate authority: it signs a certificate for every server and every agent, and
// makes the TLS configurations by which they know each other.
//
// The one thing to know: a peer is an [Identity], written in its certificate as the URI crony://CLUSTER/ROLE/ID. Its address
// plays no part: a host may move, be behind NAT or have no name, and whoever takes over an address is still nobody.
//
// There is one root; while another takes its place there are two, and a certificate by which the old one vouches for the new.
// Every key is P-256, and only TLS 1.3 is spoken. Private keys are created readable
// by their owner alone; their modes are not looked at when they are read, as containers and mounted secrets have modes of
// their own. The package does not revoke (a peer that is no longer wanted is refused by who keeps the list of peers), does
// not renew by itself, and has nothing to do with the certificates that people's browsers see.
package pki
