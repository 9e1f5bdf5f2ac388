package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/podero-facade/server/internal/filewatch"
	"example.com/podero-facade/server/sharedcache"
	"example.com/podero-facade/server/telemetry"
	"example.com/podero-facade/server/token"
)

// Check returns nil, or an error for each setting that is missing, malformed or contradicts another,
// joined: one line each, with the flag, the variable and what to do.
func (c *Config) Check() error {
	var problems []error
	refuse := func(flag, format string, args ...any) {
		problems = append(problems, fmt.Errorf("--%s (%s): %s", flag, Variable(flag), fmt.Sprintf(format, args...)))
	}
	c.Listen.check(refuse)
	c.TLS.check(refuse)
	c.checkCallers(refuse)
	c.Upstream.check(refuse)
	c.Cache.check(refuse)
	if !c.CacheRedisURL.IsZero() && c.UpstreamAuth == AuthPassthrough {
		refuse("cache-redis-url", "contradicts --upstream-auth=passthrough; leave out one of them")
	}
	c.checkExposure(refuse)
	if c.LogFormat != telemetry.LogJSON && c.LogFormat != telemetry.LogText {
		refuse("log-format", "%q is not known; give json or text", c.LogFormat)
	}
	checkAtLeast(0*time.Second, "shutdown-drain-delay", c.ShutdownDrainDelay, refuse)
	checkAtLeast(0*time.Second, "shutdown-timeout", c.ShutdownTimeout, refuse)
	environment, _ := telemetry.CheckEnvironment()
	return errors.Join(append(problems, environment...)...)
}

// refuseFunc takes note of what is wrong with a flag's value and what to do about it.
type refuseFunc = func(flag, format string, args ...any)

func (l *Listen) check(refuse refuseFunc) {
	checkAddress("grpc-listen", l.GRPCListen, refuse)
	checkAddress("http-listen", l.HTTPListen, refuse)
	checkAddress("admin-listen", l.AdminListen, refuse)
	checkAtLeast(0, "max-connections-per-peer", l.MaxConnectionsPerPeer, refuse)
}

func (c *Cache) check(refuse refuseFunc) {
	checkAtLeast(0*time.Second, "cache-ttl", c.CacheTTL, refuse)
	checkAtLeast(0*time.Second, "cache-stale-if-error", c.CacheStaleIfError, refuse)
	if c.CacheStaleIfError > 0 && c.CacheTTL == 0 {
		refuse("cache-stale-if-error", "needs answers to reuse; give --cache-ttl, too")
	}
	if c.CacheRedisURL.IsZero() {
		return
	}
	if c.CacheTTL == 0 {
		refuse("cache-redis-url", "needs answers to reuse; give --cache-ttl, too")
	}
	if err := sharedcache.CheckURL(c.CacheRedisURL); err != nil {
		refuse("cache-redis-url", "%v", err)
	}
}

func (t *TLS) check(refuse refuseFunc) {
	if t.TLSMinVersion != "1.2" && t.TLSMinVersion != "1.3" {
		refuse("tls-min-version", "%q is not known; give 1.3 or 1.2", t.TLSMinVersion)
	}
	switch {
	case t.TLSCertFile != "" && t.TLSKeyFile == "":
		refuse("tls-key-file", "is missing; name the file with the key of --tls-cert-file")
	case t.TLSCertFile == "" && t.TLSKeyFile != "":
		refuse("tls-cert-file", "is missing; name the file with the certificate of --tls-key-file")
	case t.TLSCertFile == "" && t.TLSClientCAFile != "":
		refuse("tls-client-ca-file", "needs TLS; give --tls-cert-file and --tls-key-file, too")
	case t.hasTLS():
		if _, err := filewatch.Parse(parseKeyPair, t.TLSCertFile, t.TLSKeyFile); err != nil {
			refuse("tls-cert-file", "%v; give PEM files that belong together with --tls-key-file", err)
		}
		if t.TLSClientCAFile == "" {
			return
		}
		if _, err := filewatch.Parse(parseClientCAs, t.TLSClientCAFile); err != nil {
			refuse("tls-client-ca-file", "%v; give a PEM file with certificates", err)
		}
	}
}

// hasTLS reports whether the service speaks TLS to callers.
func (t *TLS) hasTLS() bool { return t.TLSCertFile != "" }

// minVersion returns the lowest version of TLS, as package tls numbers it.
func (t *TLS) minVersion() uint16 {
	if t.TLSMinVersion == "1.2" {
		return tls.VersionTLS12
	}
	return tls.VersionTLS13
}

// needs reports whether lookups need some kind of credentials, or may have them instead of another.
func (c *Callers) needs(kind string) bool { return slices.Contains(c.CallerAuth, kind) }

// guarded reports whether calls pass a guard.
func (c *Callers) guarded() bool { return !c.needs(CallerNone) || c.AuditLog != "" }

// isOpen reports whether anybody who reaches the service can look up users with its credentials.
func (c *Config) isOpen() bool { return c.needs(CallerNone) && c.UpstreamAuth != AuthPassthrough }

// checkCallers checks who may call, together with what that depends on.
func (c *Config) checkCallers(refuse refuseFunc) {
	if len(c.CallerAuth) == 0 {
		refuse("caller-auth", "is empty; give mtls, jwt or none")
	}
	if c.AuditLog != "" && c.AuditLog != "-" {
		if err := tryAppend(c.AuditLog); err != nil {
			refuse("audit-log", "%v; name a file that can be written, or - for the standard output", err)
		}
	}
	for _, kind := range c.CallerAuth {
		if kind != CallerNone && kind != CallerMTLS && kind != CallerJWT {
			refuse("caller-auth", "%q is not known; give mtls, jwt or none", kind)
		}
	}
	if c.needs(CallerNone) && len(c.CallerAuth) > 1 {
		refuse("caller-auth", "none contradicts the others; leave out one of them")
	}
	if c.needs(CallerMTLS) && (c.TLSClientCAFile == "" || !c.hasTLS()) {
		refuse("tls-client-ca-file", "is missing; --caller-auth=mtls needs it, and --tls-cert-file and --tls-key-file")
	}
	for _, origin := range c.CORSAllowedOrigin {
		if !isOrigin(origin) {
			refuse("cors-allowed-origin", "%q is not an origin; give one as browsers send it, like https://portal.example or http://127.0.0.1:3000", origin)
		}
	}
	c.checkJWT(refuse)
	if c.CallerPolicyFile == "" {
		return
	}
	if c.needs(CallerNone) {
		refuse("caller-policy-file", "needs callers with names; give --caller-auth, too")
	}
	var unreadable *fs.PathError
	switch _, err := filewatch.Parse(parsePolicy, c.CallerPolicyFile); {
	case errors.As(err, &unreadable):
		refuse("caller-policy-file", "%v; name a readable file", err)
	case err != nil:
		refuse("caller-policy-file", "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

func (c *Config) checkJWT(refuse refuseFunc) {
	if !c.needs(CallerJWT) {
		for _, setting := range [][2]string{{"jwt-issuer", c.JWTIssuer}, {"jwt-audience", c.JWTAudience}, {"jwt-jwks-url", c.JWTJWKSURL}, {"jwt-ca-file", c.JWTCAFile}} {
			if flag, value := setting[0], setting[1]; value != "" {
				refuse(flag, "is for --caller-auth=jwt; give that, too, or leave this out")
			}
		}
		return
	}
	if c.UpstreamAuth == AuthPassthrough {
		refuse("caller-auth", "jwt contradicts --upstream-auth=passthrough, as both want the call's one bearer token; leave out one of them")
	}
	switch {
	case c.JWTIssuer == "":
		refuse("jwt-issuer", "is missing; give the issuer of callers' tokens")
	case c.JWTJWKSURL == "": // its discovery document has to be found
		checkURL("jwt-issuer", c.JWTIssuer, refuse)
	default:
		checkURL("jwt-jwks-url", c.JWTJWKSURL, refuse)
	}
	if _, err := rootsWith(c.JWTCAFile); err != nil {
		refuse("jwt-ca-file", "%v; give a PEM file with certificates", err)
	}
	if c.JWTAudience == "" {
		refuse("jwt-audience", "is missing; give the audience that callers' tokens are for")
	}
}

func (u *Upstream) check(refuse refuseFunc) {
	checkURL("upstream-url", u.UpstreamURL, refuse)
	if parsed, err := url.Parse(u.UpstreamURL); err == nil && strings.Contains(parsed.EscapedPath(), "//") {
		refuse("upstream-url", "has an empty segment (//) in its path; give each slash once")
	}
	checkAtLeast(time.Millisecond, "upstream-timeout", u.UpstreamTimeout, refuse)
	checkAtLeast(time.Millisecond, "upstream-attempt-timeout", u.UpstreamAttemptTimeout, refuse)
	checkAtLeast(1, "upstream-max-attempts", u.UpstreamMaxAttempts, refuse)
	checkAtLeast(0, "upstream-max-concurrency", u.UpstreamMaxConcurrency, refuse)
	if u.UpstreamCAFile != "" {
		if _, err := u.roots(); err != nil {
			refuse("upstream-ca-file", "%v; give a PEM file with certificates", err)
		}
	}
	switch u.UpstreamAuth {
	case AuthPassthrough:
		u.checkPassthrough(refuse)
	case AuthClientCredentials:
		u.checkCredentials(refuse)
	default:
		refuse("upstream-auth", "%q is not known; give %s or %s", u.UpstreamAuth, AuthClientCredentials, AuthPassthrough)
	}
}

// checkPassthrough refuses credentials beside callers' own: a service that holds none can lose none.
func (u *Upstream) checkPassthrough(refuse refuseFunc) {
	const contradiction = "contradicts --upstream-auth=passthrough; leave out one of them"
	if u.ClientID != "" {
		refuse("client-id", contradiction)
	}
	if u.ClientSecretFile != "" {
		refuse("client-secret-file", contradiction)
	}
	if !u.ClientSecret.IsZero() {
		refuse("client-secret-file", "%s contradicts --upstream-auth=passthrough; unset one of them", SecretVariable)
	}
	if len(u.Scope) > 0 {
		refuse("scope", contradiction)
	}
}

func (u *Upstream) checkCredentials(refuse refuseFunc) {
	checkURL("token-url", u.TokenURL, refuse)
	if u.ClientID == "" {
		refuse("client-id", "is missing; give the client ID that Podero issued")
	}
	if strings.ContainsFunc(u.ClientID, isControl) {
		refuse("client-id", "has a control character or a byte order mark in it; give the client ID that Podero issued")
	}
	switch {
	case u.ClientSecretFile == "" && u.ClientSecret.IsZero():
		refuse("client-secret-file", "is missing; name the file with the client secret, or set %s", SecretVariable)
	case u.ClientSecretFile != "" && !u.ClientSecret.IsZero():
		refuse("client-secret-file", "contradicts %s; leave out one of them", SecretVariable)
	case u.ClientSecret.ContainsFunc(isControl):
		refuse("client-secret-file", "%s has a control character or a byte order mark in it; set it to the secret that Podero issued", SecretVariable)
	default:
		if _, err := u.secret(); err != nil {
			refuse("client-secret-file", "%v; name a readable file with the client secret", err)
		}
	}
	switch u.TokenRequestFormat {
	case token.Auto, token.JSON, token.Form:
	default:
		refuse("token-request-format", "%q is not known; give auto, json or form", u.TokenRequestFormat)
	}
}

// checkExposure refuses what would let strangers use or read the service's credentials.
func (c *Config) checkExposure(refuse refuseFunc) {
	if c.Insecure {
		return
	}
	if isPlainBeyondLoopback(c.UpstreamURL) {
		refuse("upstream-url", "http:// beyond loopback sends access tokens in the clear; use https://, or accept that with --insecure")
	}
	if c.UpstreamAuth == AuthPassthrough {
		return // a caller without a token of its own gets nothing
	}
	if isPlainBeyondLoopback(c.TokenURL) {
		refuse("token-url", "http:// beyond loopback sends the client secret in the clear; use https://, or accept that with --insecure")
	}
	for _, host := range sharedcache.CleartextHosts(c.CacheRedisURL) {
		if !isLoopback(host) {
			refuse("cache-redis-url", "redis:// beyond loopback sends the password in the clear; use rediss://, or accept that with --insecure")
			break
		}
	}
	if c.needs(CallerJWT) && (isPlainBeyondLoopback(c.JWTJWKSURL) || c.JWTJWKSURL == "" && isPlainBeyondLoopback(c.JWTIssuer)) {
		refuse("jwt-jwks-url", "http:// beyond loopback lets anybody on the way replace the keys; use https://, or accept that with --insecure")
	}
	if c.needs(CallerNone) {
		checkLoopback("grpc-listen", c.GRPCListen, refuse)
		checkLoopback("http-listen", c.HTTPListen, refuse)
	}
}

func checkLoopback(flag, address string, refuse refuseFunc) {
	if host, _, err := net.SplitHostPort(address); err == nil && !isLoopback(host) {
		refuse(flag, "%s is beyond loopback, where anybody could read every customer without authentication; listen on 127.0.0.1, or authenticate callers with --caller-auth=mtls or --caller-auth=jwt, or take their own tokens with --upstream-auth=passthrough, or accept that with --insecure", address)
	}
}

func checkAddress(flag, address string, refuse refuseFunc) {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		refuse(flag, "%q is not an address; give host:port, such as 127.0.0.1:8080", address)
	}
}

func checkAtLeast[T int | time.Duration](least T, flag string, value T, refuse refuseFunc) {
	if value < least {
		refuse(flag, "%v is less than %v; give more", value, least)
	}
}

// checkURL checks a URL without quoting it: it may have a password in it.
func checkURL(flag, value string, refuse refuseFunc) {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !isPort(u.Port()):
		refuse(flag, "is not a URL; give one like https://host/path")
	case u.User != nil:
		refuse(flag, "has credentials in it; leave them out")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(value, "#"):
		refuse(flag, "has a query or a fragment; leave it out")
	}
}

// isPort reports whether the port of a URL is one, or left out.
func isPort(port string) bool {
	number, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && number > 0
}

// isOrigin reports whether a value is an origin as a browser writes it (RFC 6454, section 6.2): scheme, host and a
// port that is not the scheme's own, in lower case. "null" is the origin of too much, and "*" of everything.
func isOrigin(value string) bool {
	u, err := url.Parse(value)
	return err == nil && u.Scheme != "" && u.Hostname() != "" && value == u.Scheme+"://"+u.Host &&
		value == strings.ToLower(value) && !strings.Contains(value, "*") &&
		(u.Scheme != "https" || u.Port() != "443") && (u.Scheme != "http" || u.Port() != "80")
}

func isPlainBeyondLoopback(value string) bool {
	u, err := url.Parse(value)
	return err == nil && u.Scheme == "http" && !isLoopback(u.Hostname())
}

// isLoopback reports whether a host is this machine alone. A name other than localhost may be anything.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
