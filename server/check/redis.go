package check

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"example.com/podero-facade/server/sharedcache"
)

// checkRedis writes and reads an entry, if replicas share answers.
func (r *runner) checkRedis(ctx context.Context) {
	const name = "redis"
	if r.config.CacheRedisURL.IsZero() {
		return
	}
	if because := r.refusal("cache-redis-url", "upstream-ca-file", "upstream-attempt-timeout"); because != "" {
		r.skip(because, name)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.UpstreamAttemptTimeout)
	defer cancel()
	begun := time.Now()
	if err := r.config.TryRedis(ctx); err != nil {
		r.fail(name, describe(err), mendRedis(err))
		return
	}
	r.pass(name, "an entry was written and read in %v", took(begun))
}

// mendRedis returns what to do about a Redis that keeps no entries.
func mendRedis(err error) string {
	var refusal sharedcache.RefusalError
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		return mendTLS(err, "cache-redis-url")
	}
	if !errors.As(err, &refusal) {
		return "check host, port and scheme in --cache-redis-url, and what is on the way there"
	}
	switch refusal {
	case "NOAUTH", "WRONGPASS", "ERR":
		return "check user, password and database in --cache-redis-url"
	case "NOPERM":
		return "let its user SET, GETRANGE, PTTL and DEL podero-facade:*"
	case "OOM":
		return "give Redis more memory, or let it evict: maxmemory-policy allkeys-lru"
	case "READONLY":
		return "give --cache-redis-url of the primary"
	case "MOVED", "CLUSTERDOWN":
		return "give --cache-redis-url of the whole cluster, its other nodes as ?addr=host:port"
	default:
		return "see Redis's own log"
	}
}
