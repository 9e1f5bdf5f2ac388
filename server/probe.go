package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"

	"example.com/podero-facade/server/caller"
	"example.com/podero-facade/server/internal/http1"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/sharedcache"
	"example.com/podero-facade/server/token"
)

// The methods below let package check use the transports and clients of the service one at a time.

// NewTokenTransport returns the transport for token requests.
func (u *Upstream) NewTokenTransport() (*http.Transport, error) {
	config, err := u.tlsConfig()
	if err != nil {
		return nil, err
	}
	return newTokenTransport(u, config), nil
}

// NewTokenEndpoint returns the token endpoint. It reads the client secret's file once.
func (u *Upstream) NewTokenEndpoint(transport http.RoundTripper) (*token.Endpoint, error) {
	clientSecret, err := u.secret()
	if err != nil {
		return nil, err
	}
	return newEndpoint(u, func() secret.Text { return clientSecret }, transport), nil
}

// NewClient returns a client of Podero's API without metrics and log, and a function that closes
// its connections. It takes the proxy and the TLS settings from like, the transport for token
// requests.
func (u *Upstream) NewClient(like *http.Transport) (client *podero.Client, closeAll func(), err error) {
	config := like.TLSClientConfig
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	settings := apiTransportConfig(u, config, 1)
	settings.Proxy = like.Proxy
	transport, err := http1.New(settings)
	if err != nil {
		return nil, nil, err
	}
	drift := podero.NewDrift(slog.New(slog.DiscardHandler), func(string, string) {})
	client, err = newClient(u, transport, drift, func(string) {})
	return client, transport.Close, err
}

// TryRedis writes an entry to the cache that replicas share, and reads it back.
func (c *Config) TryRedis(ctx context.Context) error {
	return sharedcache.Try(ctx, c.CacheRedisURL, c.roots)
}

// CountKeys fetches the issuer's keys, and returns how many of them are usable and how many are
// ignored.
func (c *Callers) CountKeys(ctx context.Context) (usable, ignored int, err error) {
	transport, err := newKeyTransport(c)
	if err != nil {
		return 0, 0, err
	}
	defer transport.CloseIdleConnections()
	return caller.CountKeys(ctx, c.tokenConfig(transport, slog.New(slog.DiscardHandler)))
}
