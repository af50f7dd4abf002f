package appliance

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/hashicorp/go-sockaddr/template"
)

// resolve fills in a template of go-sockaddr with what is true on this host. What is no template is as it is.
func resolve(text string) (string, error) {
	if !strings.Contains(text, "{{") {
		return text, nil
	}
	out, err := template.Parse(text)
	if err != nil {
		return "", fmt.Errorf("the template %q can't be read: %w", text, err)
	}
	out = strings.TrimSpace(out)
	if out == "" || strings.HasPrefix(out, ":") {
		return "", fmt.Errorf("the template %q finds no address on this host", text)
	}
	if fields := strings.Fields(out); len(fields) > 1 {
		return "", fmt.Errorf("the template %q finds %d addresses on this host: %s", text, len(fields), out)
	}
	return out, nil
}

// resolveListen returns an address to listen on as IP:PORT; all of the host's if text is empty.
func resolveListen(text, port string) (string, error) {
	text, err := resolve(text)
	if err != nil {
		return "", err
	}
	switch {
	case text == "":
		text = net.JoinHostPort(allAddresses, port)
	case strings.HasPrefix(text, ":"):
		text = allAddresses + text
	case !strings.Contains(text, ":") || net.ParseIP(text) != nil: // an address alone, also of IPv6
		text = net.JoinHostPort(text, port)
	}
	if _, err := netip.ParseAddrPort(text); err != nil {
		return "", fmt.Errorf("%q is no address to listen on", text)
	}
	return text, nil
}

// resolveAdvertise returns the address by which others reach what listens on an address, as HOST:PORT.
func resolveAdvertise(text, listen string) (string, error) {
	text, err := resolve(text)
	if err != nil {
		return "", err
	}
	at, err := netip.ParseAddrPort(listen)
	if err != nil {
		return "", err
	}
	port := strconv.Itoa(int(at.Port()))
	switch {
	case text == "" && !at.Addr().IsUnspecified():
		return listen, nil
	case text == "":
		host, err := ownAddress()
		return net.JoinHostPort(host, port), err
	case !strings.Contains(text, ":") || net.ParseIP(text) != nil:
		return net.JoinHostPort(text, port), nil
	}
	host, port, err := net.SplitHostPort(text)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || host == "" || n == 0 {
		return "", fmt.Errorf("%q is no address that others could reach", text)
	}
	return text, nil
}

// ownAddress returns the address of the host that others most likely reach: its private one, or else any that is not
// loopback. The host need not have a default route.
func ownAddress() (string, error) {
	const others = `{{ GetAllInterfaces | include "flags" "up" | exclude "flags" "loopback" | sort "default,size"`
	for _, guess := range []string{
		`{{ GetPrivateIP }}`,
		others + ` | include "type" "ipv4" | limit 1 | join "address" " " }}`,
		others + ` | exclude "rfc" "4291" | limit 1 | join "address" " " }}`,
	} {
		if address, err := template.Parse(guess); err == nil && net.ParseIP(strings.TrimSpace(address)) != nil {
			return strings.TrimSpace(address), nil
		}
	}
	return "", errors.New("this host seems to have no address but loopback")
}
