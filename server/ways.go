package server

import (
	"context"
	"log/slog"
	"net/http"

	"example.com/podero-facade/server/caller"
	"example.com/podero-facade/server/exchange"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/token"
)

// The methods below give package check the service's own ways out, to try them one by one.

// NewTransport returns the way to Podero's API and its token endpoint.
func (u *Upstream) NewTransport() (*http.Transport, error) { return newTransport(u) }

// NewTokenEndpoint returns the token endpoint, with the client secret as its file has it now.
func (u *Upstream) NewTokenEndpoint(transport http.RoundTripper) (*token.Endpoint, error) {
	clientSecret, err := u.secret()
	if err != nil {
		return nil, err
	}
	return newEndpoint(u, func() secret.Text { return clientSecret }, transport), nil
}

// NewClient returns a client of Podero's API that counts and logs nothing, and what ends it.
func (u *Upstream) NewClient(general *http.Transport) (client *podero.Client, end func(), err error) {
	lookups, err := exchange.New(u.UpstreamURL, general, u.UpstreamAttemptTimeout)
	if err != nil {
		return nil, nil, err
	}
	drift := podero.NewDrift(slog.New(slog.DiscardHandler), func(string, string) {})
	client, err = newClient(u, lookups, drift, func(string) {})
	return client, lookups.Close, err
}

// CountKeys fetches the keys of the issuer of callers' tokens, and returns how many of them are usable and
// how many are to be ignored.
func (c *Callers) CountKeys(ctx context.Context) (usable, ignored int, err error) {
	transport := newKeyTransport()
	defer transport.CloseIdleConnections()
	return caller.CountKeys(ctx, c.tokenConfig(transport, slog.New(slog.DiscardHandler)))
}
