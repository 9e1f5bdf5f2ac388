package server

import (
	"time"

	"example.com/podero-facade/server/cache"
	"example.com/podero-facade/server/caller"
	"example.com/podero-facade/server/internal/connlimit"
	"example.com/podero-facade/server/internal/http1"
	"example.com/podero-facade/server/resilience"
	"example.com/podero-facade/server/sharedcache"
	"example.com/podero-facade/server/telemetry"
	"example.com/podero-facade/server/token"
)

// These functions export the components' own counters as metrics. They are read when metrics are
// scraped, so they cost a lookup nothing. docs/operations.md lists all metrics.

func watchLoad(metrics *telemetry.Metrics, limiter *resilience.Limiter, breaker *resilience.Breaker) {
	metrics.Gauge("podero_facade_upstream_concurrency_limit", "Limit of concurrent requests to Podero.",
		func() float64 { return float64(limiter.Limit()) })
	metrics.Gauge("podero_facade_upstream_in_flight", "Requests to Podero in flight.",
		func() float64 { return float64(limiter.InFlight()) })
	metrics.Gauge("podero_facade_breaker_open", "1 while the circuit breaker is open, so that calls fail without a request to Podero.",
		func() float64 {
			if breaker.IsOpen() {
				return 1
			}
			return 0
		})
}

func watchTransport(metrics *telemetry.Metrics, transport *http1.Transport) {
	metrics.Counter("podero_facade_upstream_unsolicited_responses_total",
		"Connections to Podero that were closed because it sent bytes that no request asked for.", transport.Unsolicited)
}

func watchConnections(metrics *telemetry.Metrics, port string, listener *connlimit.Listener) {
	metrics.LabeledCounter("podero_facade_connections_rejected_total",
		"Connections that were closed because their peer had too many.", "port", port, listener.Rejected)
	metrics.LabeledCounter("podero_facade_connections_evicted_total",
		"Idle connections that were closed in favour of new ones.", "port", port, listener.Evicted)
}

func watchExpiry(metrics *telemetry.Metrics, certificate string, expiry func() time.Time) {
	metrics.LabeledGauge("podero_facade_certificate_expiry_timestamp_seconds",
		"When a certificate expires, in seconds since 1970: the service's own, and the first of the CAs of --tls-client-ca-file.",
		"certificate", certificate, func() float64 { return float64(expiry().Unix()) })
}

func watchKeys(metrics *telemetry.Metrics, tokens *caller.TokenVerifier) {
	metrics.Gauge("podero_facade_caller_keys_age_seconds", "Time since the keys of --jwt-issuer were fetched; 0 before the first time.",
		func() float64 { return tokens.KeysAge().Seconds() })
}

func watchTokens(metrics *telemetry.Metrics, tokens *token.Keeper) {
	metrics.Gauge("podero_facade_token_age_seconds", "How long ago the access token was asked for; 0 without one.",
		func() float64 { return tokens.Age().Seconds() })
	metrics.Counter("podero_facade_token_fetches_total", "Access tokens that the token endpoint gave.", tokens.Fetched)
	metrics.Counter("podero_facade_token_failures_total", "Token requests that failed.", tokens.Failed)
}

func watchSingleflight(metrics *telemetry.Metrics, singleflight *resilience.Singleflight) {
	metrics.Counter("podero_facade_lookups_coalesced_total", "Lookups that joined an identical lookup in flight.", singleflight.Coalesced)
}

func watchCache(metrics *telemetry.Metrics, reuse *cache.Cache) {
	metrics.Counter("podero_facade_cache_hits_total", "Lookups that were answered from the cache.", reuse.Hits)
	metrics.Counter("podero_facade_cache_stale_total", "Lookups that were answered with a stale user, as Podero was unavailable or too slow.", reuse.Stale)
	metrics.Counter("podero_facade_cache_misses_total", "Lookups that the cache had no answer for.", reuse.Misses)
}

func watchSharedCache(metrics *telemetry.Metrics, shared *sharedcache.Cache) {
	metrics.Counter("podero_facade_shared_cache_hits_total", "Lookups that were answered from the shared cache.", shared.Hits)
	metrics.Counter("podero_facade_shared_cache_misses_total", "Lookups that the shared cache had no answer for.", shared.Misses)
	metrics.Counter("podero_facade_shared_cache_failures_total", "Exchanges with Redis that failed or were left out, and entries that could not be opened.", shared.Failures)
}
