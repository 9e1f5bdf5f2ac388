package check_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"example.com/podero-facade/server/secret"
)

func TestRedisIsTried(t *testing.T) {
	api := listen(t, newSandbox(t))
	open, protected, full, replica, bare := miniredis.RunT(t), miniredis.RunT(t), miniredis.RunT(t), miniredis.RunT(t), miniredis.RunT(t)
	protected.RequireAuth("right")
	full.SetError("OOM command not allowed when used memory > 'maxmemory'.")
	replica.SetError("READONLY You can't write against a read only replica.")
	bare.SetError("NOPERM this user has no permissions to run the 'set' command")
	certificate, key := certify(t, -time.Hour, time.Hour)
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	secured := miniredis.NewMiniRedis()
	if err := secured.StartTLS(&tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(secured.Close)
	for name, c := range map[string]struct {
		location string
		want     string
	}{
		"a Redis":          {"redis://" + open.Addr(), `✓ redis: an entry was written and read in [\d.]+(µs|ms|s)`},
		"a password":       {"redis://:right@" + protected.Addr(), `✓ redis: .*`},
		"no password":      {"redis://" + protected.Addr(), `✗ redis: Redis answers NOAUTH; check user, password and database in --cache-redis-url`},
		"a wrong password": {"redis://:hunter2@" + protected.Addr(), `✗ redis: Redis answers WRONGPASS; check user, password and database in --cache-redis-url`},
		"no memory":        {"redis://" + full.Addr(), `✗ redis: Redis answers OOM; give Redis more memory, or let it evict: maxmemory-policy allkeys-lru`},
		"a replica":        {"redis://" + replica.Addr(), `✗ redis: Redis answers READONLY; give --cache-redis-url of the primary`},
		"no rights":        {"redis://" + bare.Addr(), `✗ redis: Redis answers NOPERM; let its user SET, GETRANGE, PTTL and DEL podero-facade:\*`},
		"a closed port":    {"redis://" + closedPort(t), `✗ redis: dial tcp 127\.0\.0\.1:\d+: connect: connection refused; check host, port and scheme in --cache-redis-url, and what is on the way there`},
		"an unknown CA":    {"rediss://" + secured.Addr(), `✗ redis: .*unknown authority \(issued by CN=test \[31m\); if that CA is to be trusted, give its certificate with --upstream-ca-file`},
		"no TLS there":     {"rediss://" + open.Addr(), `✗ redis: .*; check host, port and scheme in --cache-redis-url, .*`},
		"TLS there":        {"redis://" + secured.Addr(), `✗ redis: .*; check host, port and scheme in --cache-redis-url, .*`},
	} {
		t.Run(name, func(t *testing.T) {
			config := newConfig(t, api)
			config.CacheTTL, config.CacheRedisURL = time.Minute, secret.New(c.location)
			verify(t, config, nilUUID, []string{configured, dns, tcp, plain, issued, denied, c.want})
		})
	}
	config := newConfig(t, api)
	config.CacheTTL, config.CacheRedisURL, config.UpstreamCAFile = time.Minute, secret.New("rediss://"+secured.Addr()), certificate
	verify(t, config, nilUUID, []string{configured, "✓ upstream CAs: .*", dns, tcp, plain, issued, denied, `✓ redis: .*`})
	config = newConfig(t, api)
	config.CacheTTL, config.CacheRedisURL = time.Minute, secret.New("hunter2")
	verify(t, config, nilUUID, []string{`✗ configuration: --cache-redis-url \(PODERO_FACADE_CACHE_REDIS_URL\): is not a URL of Redis; give one like rediss://.*`,
		dns, tcp, plain, issued, denied, `- redis: not tried, because --cache-redis-url is wrong`})
}
