package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/dial"
)

// site is a place that the service talks to.
type site struct {
	name string // what is there
	flag string // what says where
	url  *url.URL
}

// newSite returns the site at a URL that the configuration's rules have accepted.
func newSite(name, flag, location string) site {
	u, err := url.Parse(location)
	if err != nil {
		u = &url.URL{}
	}
	return site{name, flag, u}
}

// address returns a URL's host and port.
func address(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// reach connects to a site as the service would. It returns why what needs the site can't be tried, or "".
func (r *runner) reach(ctx context.Context, s site, transport *http.Transport) (because string) {
	dns, tcp, handshake := s.name+" DNS", s.name+" TCP", s.name+" TLS"
	if because := r.refusal(s.flag, "upstream-ca-file", "upstream-timeout", "upstream-attempt-timeout"); because != "" {
		r.skip(because, dns, tcp, handshake)
		return because
	}
	because = "there is no connection to the " + s.name
	if proxy := proxyOf(transport, s.url); proxy != nil {
		r.skip("it goes through a proxy", dns, tcp, handshake)
		if !r.connectProxy(ctx, s, proxy) {
			return because
		}
		return ""
	}
	if !r.resolve(ctx, dns, s) {
		r.skip("there is no address of it", tcp, handshake)
		return because
	}
	if !r.connect(ctx, tcp, handshake, s, transport.TLSClientConfig) {
		return because
	}
	return ""
}

// proxyOf returns the proxy that the environment names for a URL, or nil.
func proxyOf(transport *http.Transport, u *url.URL) *url.URL {
	if transport.Proxy == nil {
		return nil
	}
	proxy, err := transport.Proxy(&http.Request{URL: u})
	if err != nil { // the exchange will say so
		return nil
	}
	return proxy
}

func (r *runner) connectProxy(ctx context.Context, s site, proxy *url.URL) bool {
	name := s.name + " proxy"
	conn, took, err := r.dial(ctx, address(proxy))
	if err != nil {
		r.fail(name, fault.Network(err).Error(), "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY")
		return false
	}
	_ = conn.Close()
	r.pass(name, "connected to %s in %v, the way to %s by HTTPS_PROXY or HTTP_PROXY", address(proxy), took, s.url.Hostname())
	return true
}

func (r *runner) resolve(ctx context.Context, name string, s site) bool {
	ctx, cancel := context.WithTimeout(ctx, r.config.UpstreamAttemptTimeout)
	defer cancel()
	host := s.url.Hostname()
	if net.ParseIP(host) != nil {
		r.pass(name, "%s is an address", host)
		return true
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		r.fail(name, fault.Network(err).Error(), "check the host in --"+s.flag+", and this machine's DNS")
		return false
	}
	r.pass(name, "%s has %s", host, strings.Join(addresses, ", "))
	return true
}

// connect opens a connection and, if the URL wants that, speaks TLS over it.
func (r *runner) connect(ctx context.Context, tcp, handshake string, s site, config *tls.Config) bool {
	conn, took, err := r.dial(ctx, address(s.url))
	if err != nil {
		r.fail(tcp, fault.Network(err).Error(), "check host and port in --"+s.flag+", firewalls, and whether a proxy is needed (HTTPS_PROXY)")
		r.skip("there is no connection", handshake)
		return false
	}
	defer func() { _ = conn.Close() }()
	r.pass(tcp, "connected to %s in %v", conn.RemoteAddr(), took)
	r.tryOthers(ctx, tcp, s, conn.RemoteAddr())
	if s.url.Scheme != "https" {
		r.skip("--"+s.flag+" is http://", handshake)
		return true
	}
	config = config.Clone()
	config.ServerName = s.url.Hostname()
	ctx, cancel := context.WithTimeout(ctx, r.config.UpstreamAttemptTimeout)
	defer cancel()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		r.fail(handshake, describe(err), mendTLS(err, s.flag))
		return false
	}
	state := secure.ConnectionState()
	leaf := state.PeerCertificates[0]
	r.pass(handshake, "%s, certificate verified, issued by %s, valid for %s",
		tls.VersionName(state.Version), leaf.Issuer, days(leaf))
	return true
}

// dial opens a TCP connection, and returns how long that took.
func (r *runner) dial(ctx context.Context, address string) (net.Conn, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, r.config.UpstreamAttemptTimeout)
	defer cancel()
	start := time.Now()
	conn, err := dial.New(r.config.UpstreamAttemptTimeout).DialContext(ctx, "tcp", address) // as the service does
	return conn, took(start), err
}

// tryOthers warns of addresses of a site that can't be connected to, though another one can: the service then uses
// that, and whatever it finds silent costs it a moment.
func (r *runner) tryOthers(ctx context.Context, name string, s site, connected net.Addr) {
	ctx, cancel := context.WithTimeout(ctx, r.config.UpstreamAttemptTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(address(s.url))
	if err != nil || net.ParseIP(host) != nil {
		return
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return
	}
	failures := make([]error, len(addresses))
	var trying sync.WaitGroup
	for i, other := range addresses {
		if other = net.JoinHostPort(other, port); other != connected.String() {
			trying.Go(func() {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", other)
				if failures[i] = err; err == nil {
					_ = conn.Close()
				}
			})
		}
	}
	trying.Wait()
	for _, err := range failures {
		if err != nil {
			r.warn(name, fault.Network(err).Error(), "the service uses the addresses that work; tell the owner of --"+s.flag+", or check firewalls")
		}
	}
}

// took returns how long ago something began, for people.
func took(begun time.Time) time.Duration {
	return max(time.Since(begun).Round(100*time.Microsecond), 100*time.Microsecond)
}

// describe says why TLS failed and, if a certificate is to blame, who issued it.
func describe(err error) string {
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) && len(certificate.UnverifiedCertificates) > 0 {
		return fmt.Sprintf("%v (issued by %s)", err, certificate.UnverifiedCertificates[0].Issuer)
	}
	return err.Error()
}

// mendTLS returns what to do about a handshake that failed.
func mendTLS(err error, flag string) string {
	var (
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		name    x509.HostnameError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown):
		return "if that CA is to be trusted, give its certificate with --upstream-ca-file"
	case errors.As(err, &name):
		return "check the host in --" + flag
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "check this machine's clock; if it is right, the certificate's owner must renew it"
	case errors.As(err, &record):
		return "check scheme and port in --" + flag
	default:
		return "check --" + flag + " and what is on the way there"
	}
}
