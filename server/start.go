package server

import (
	"log/slog"
	"net/url"
	"strings"

	"example.com/podero-facade/server/telemetry"
)

// logStart logs how the service is secured, and what of its configuration is probably not meant, before anything happens.
func (c *Config) logStart(log *slog.Logger) {
	log.Info("starting", "version", Version(), "caller_auth", c.CallerAuth, "caller_policy", c.CallerPolicyFile != "",
		"tls", c.describeTLS(), "cache", c.describeCache(), "upstream_auth", c.UpstreamAuth, "insecure", c.Insecure)
	for _, warning := range c.Warnings() {
		log.Warn("configuration", "warning", warning)
	}
}

// describeTLS returns the lowest version of TLS that callers may speak, or off.
func (t *TLS) describeTLS() string {
	if !t.hasTLS() {
		return "off"
	}
	return t.TLSMinVersion
}

// describeCache says where answers are kept.
func (c *Cache) describeCache() string {
	switch {
	case c.CacheTTL == 0:
		return "off"
	case c.CacheRedisURL.IsZero():
		return "memory"
	default:
		return "memory, redis"
	}
}

// Warnings returns what is allowed and probably not meant: one line each, with what to do.
func (c *Config) Warnings() (warnings []string) {
	warn := func(flag, text string) { warnings = append(warnings, "--"+flag+" ("+Variable(flag)+"): "+text) }
	if c.Insecure {
		warn("insecure", "lookups may be open to anybody, and secrets may be sent in the clear; leave it out where there is people's data")
	}
	if c.UpstreamAuth == AuthClientCredentials && host(c.UpstreamURL) != host(c.TokenURL) {
		warn("token-url", "its host is not the one of --upstream-url; see that both are of the same environment, as sandbox and production have credentials of their own")
	}
	_, environment := telemetry.CheckEnvironment()
	for _, warning := range environment {
		warnings = append(warnings, warning.Error())
	}
	return warnings
}

// host returns the host name of a URL, in lower case.
func host(location string) string {
	u, err := url.Parse(location)
	if err != nil { // of which the rules of the configuration say more
		return ""
	}
	return strings.ToLower(u.Hostname())
}
