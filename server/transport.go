package server

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"example.com/podero-facade/server/telemetry"
)

// lookups is where documents are looked up, as metrics and traces may know it.
func (u *Upstream) lookups() telemetry.Place {
	return telemetry.Place{Method: http.MethodGet, BaseURL: u.UpstreamURL}
}

// tokenRequests is where access tokens are asked for. Its path is the operator's, and no person's.
func (u *Upstream) tokenRequests() telemetry.Place {
	place := telemetry.Place{Method: http.MethodPost, BaseURL: u.TokenURL}
	if endpoint, err := url.Parse(u.TokenURL); err == nil {
		place.Template = endpoint.Path
	}
	return place
}

// newKeyTransport returns the way to the issuer of callers' tokens.
func newKeyTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		IdleConnTimeout:        time.Minute,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// newTransport returns the way to Podero: its API and its token endpoint. As a RoundTripper it follows
// no redirect, which would give the access token away.
func newTransport(upstream *Upstream) (*http.Transport, error) {
	roots, err := upstream.roots()
	if err != nil {
		return nil, fmt.Errorf("load --upstream-ca-file: %w", err)
	}
	dialer := &net.Dialer{Timeout: upstream.UpstreamAttemptTimeout, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    upstream.UpstreamAttemptTimeout,
		ForceAttemptHTTP2:      true, // a TLS configuration of one's own switches it off otherwise
		MaxIdleConns:           0,    // no bound but that per host; there are two hosts
		MaxIdleConnsPerHost:    512,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}, nil
}
