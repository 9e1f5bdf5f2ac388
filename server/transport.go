package server

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"example.com/podero-facade/server/internal/dial"
	"example.com/podero-facade/server/internal/http1"
	"example.com/podero-facade/server/telemetry"
)

// Bounds of the connections to Podero's API.
const (
	maxIdleUpstream   = 512
	idleUpstreamTime  = 45 * time.Second // less than the minute after which many servers and balancers close theirs
	maxResponseHeader = 64 << 10         // bytes
	tlsSessions       = 16               // kept for resumption
	keyRequestTimeout = 5 * time.Second
)

// maxUpstreamAge is how long a connection to Podero's API is used, so that DNS changes are followed.
var maxUpstreamAge = 5 * time.Minute //nolint:gochecknoglobals // a test shortens it

// apiTarget describes Podero's API for metrics and traces.
func (u *Upstream) apiTarget() telemetry.Place {
	return telemetry.Place{Method: http.MethodGet, BaseURL: u.UpstreamURL}
}

// tokenTarget describes the token endpoint for metrics and traces. Its path is the operator's, and no person's.
func (u *Upstream) tokenTarget() telemetry.Place {
	place := telemetry.Place{Method: http.MethodPost, BaseURL: u.TokenURL}
	if endpoint, err := url.Parse(u.TokenURL); err == nil {
		place.Template = endpoint.Path
	}
	return place
}

// newAPITransport returns the transport for lookups.
func newAPITransport(upstream *Upstream, tlsConfig *tls.Config, maxConns int) (*http1.Transport, error) {
	config := apiTransportConfig(upstream, tlsConfig, maxConns)
	config.Witness = true
	return http1.New(config)
}

func apiTransportConfig(upstream *Upstream, tlsConfig *tls.Config, maxConns int) http1.Config {
	return http1.Config{
		BaseURL:        upstream.UpstreamURL,
		Proxy:          http.ProxyFromEnvironment,
		TLS:            tlsConfig,
		DialContext:    dial.New(upstream.UpstreamAttemptTimeout).DialContext,
		Timeout:        upstream.UpstreamAttemptTimeout,
		IdleTimeout:    idleUpstreamTime,
		MaxAge:         maxUpstreamAge,
		MaxIdle:        min(maxIdleUpstream, maxConns),
		MaxConns:       maxConns,
		MaxHeaderBytes: maxResponseHeader,
	}
}

// newSingleUseTransport returns a transport that opens a connection for each request. It is for requests that are
// rare: a connection that is kept between them is only one that can be dead. As a RoundTripper it follows no redirect,
// which would give credentials away.
func newSingleUseTransport(config *tls.Config, timeout time.Duration) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dial.New(timeout).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    timeout,
		Protocols:              protocols,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
}

// newTokenTransport returns the transport for token requests.
func newTokenTransport(upstream *Upstream, config *tls.Config) *http.Transport {
	return newSingleUseTransport(config, upstream.UpstreamAttemptTimeout)
}

// newKeyTransport returns the transport for the keys of callers' tokens.
func newKeyTransport(callers *Callers) (*http.Transport, error) {
	roots, err := rootsWith(callers.JWTCAFile)
	if err != nil {
		return nil, fmt.Errorf("load --jwt-ca-file: %w", err)
	}
	return newSingleUseTransport(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, keyRequestTimeout), nil
}

// tlsConfig returns the TLS settings for Podero's API and the token endpoint.
func (u *Upstream) tlsConfig() (*tls.Config, error) {
	roots, err := u.roots()
	if err != nil {
		return nil, fmt.Errorf("load --upstream-ca-file: %w", err)
	}
	return &tls.Config{
		RootCAs: roots, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(tlsSessions),
	}, nil
}
