package server_test

import (
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
	"example.com/podero-facade/server/secret"
)

var discard = slog.New(slog.DiscardHandler)

func TestSettingsThatAreRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := empty + ".missing"
	utf16, bom := empty+".utf16", empty+".bom"
	policy := empty + ".policy"
	for path, text := range map[string]string{policy: "callers:\n  - subjects: hunter2\n  - hunter2\n", utf16: "\xff\xfeh\x00u\x00n\x00", bom: "\uFEFFhunter2\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u := newUpstream(t, nil, nil)
	for name, c := range map[string]struct {
		change func(*server.Config)
		want   []string // the flag and a word of each line
	}{
		"no client ID":               {func(c *server.Config) { c.ClientID = "" }, []string{"client-id missing"}},
		"no secret":                  {func(c *server.Config) { c.ClientSecret = secret.Text{} }, []string{"client-secret-file missing"}},
		"neither":                    {func(c *server.Config) { c.ClientID = ""; c.ClientSecret = secret.Text{} }, []string{"client-id missing", "client-secret-file missing"}},
		"two secrets":                {func(c *server.Config) { c.ClientSecretFile = empty }, []string{"client-secret-file contradicts"}},
		"secret file missing":        {func(c *server.Config) { c.ClientSecret = secret.Text{}; c.ClientSecretFile = missing }, []string{"client-secret-file readable"}},
		"secret file empty":          {func(c *server.Config) { c.ClientSecret = secret.Text{}; c.ClientSecretFile = empty }, []string{"client-secret-file empty"}},
		"newline in the ID":          {func(c *server.Config) { c.ClientID = "hun\nter2" }, []string{"client-id control"}},
		"a BOM before the ID":        {func(c *server.Config) { c.ClientID = "\uFEFFhunter2" }, []string{"client-id byte"}},
		"NUL in the secret":          {func(c *server.Config) { c.ClientSecret = secret.New("hunter2\x00") }, []string{"client-secret-file PODERO_FACADE_CLIENT_SECRET"}},
		"a secret file in UTF-16":    {func(c *server.Config) { c.ClientSecret = secret.Text{}; c.ClientSecretFile = utf16 }, []string{"client-secret-file control"}},
		"a BOM in the secret file":   {func(c *server.Config) { c.ClientSecret = secret.Text{}; c.ClientSecretFile = bom }, []string{"client-secret-file byte"}},
		"passthrough with ID":        {func(c *server.Config) { passthrough(c); c.ClientID = "x" }, []string{"client-id contradicts"}},
		"passthrough with secret":    {func(c *server.Config) { passthrough(c); c.ClientSecret = secret.New("x") }, []string{"client-secret-file contradicts"}},
		"passthrough with file":      {func(c *server.Config) { passthrough(c); c.ClientSecretFile = empty }, []string{"client-secret-file contradicts"}},
		"passthrough with scope":     {func(c *server.Config) { passthrough(c); c.Scope = []string{"read"} }, []string{"scope contradicts"}},
		"unknown auth":               {func(c *server.Config) { c.UpstreamAuth = "none" }, []string{"upstream-auth passthrough"}},
		"unknown format":             {func(c *server.Config) { c.TokenRequestFormat = "xml" }, []string{"token-request-format form"}},
		"unknown log format":         {func(c *server.Config) { c.LogFormat = "xml" }, []string{"log-format text"}},
		"no CA file":                 {func(c *server.Config) { c.UpstreamCAFile = missing }, []string{"upstream-ca-file PEM"}},
		"no CA in the file":          {func(c *server.Config) { c.UpstreamCAFile = empty }, []string{"upstream-ca-file certificate"}},
		"not a URL":                  {func(c *server.Config) { c.UpstreamURL = "podero" }, []string{"upstream-url URL"}},
		"another scheme":             {func(c *server.Config) { c.UpstreamURL = "ftp://127.0.0.1" }, []string{"upstream-url URL"}},
		"not a token URL":            {func(c *server.Config) { c.TokenURL = "%" }, []string{"token-url URL"}},
		"no host":                    {func(c *server.Config) { c.TokenURL = "https:///x" }, []string{"token-url URL"}},
		"password in the URL":        {func(c *server.Config) { c.UpstreamURL = "https://a:hunter2@127.0.0.1" }, []string{"upstream-url credentials"}},
		"query in the URL":           {func(c *server.Config) { c.UpstreamURL += "?key=hunter2" }, []string{"upstream-url query"}},
		"fragment in the URL":        {func(c *server.Config) { c.TokenURL += "#hunter2" }, []string{"token-url fragment"}},
		"two slashes at the end":     {func(c *server.Config) { c.UpstreamURL += "//" }, []string{"upstream-url empty"}},
		"two slashes in the path":    {func(c *server.Config) { c.UpstreamURL = u.server.URL + "/api//v2.0" }, []string{"upstream-url empty"}},
		"nothing but two slashes":    {func(c *server.Config) { c.UpstreamURL = u.server.URL + "//" }, []string{"upstream-url empty"}},
		"empty query in the URL":     {func(c *server.Config) { c.UpstreamURL += "?" }, []string{"upstream-url query"}},
		"query after a slash":        {func(c *server.Config) { c.UpstreamURL += "/?key=hunter2" }, []string{"upstream-url query"}},
		"fragment in the base URL":   {func(c *server.Config) { c.UpstreamURL += "#hunter2" }, []string{"upstream-url fragment"}},
		"empty fragment in the URL":  {func(c *server.Config) { c.UpstreamURL += "#" }, []string{"upstream-url fragment"}},
		"address without a port":     {func(c *server.Config) { c.GRPCListen = "127.0.0.1" }, []string{"grpc-listen host:port"}},
		"address without a host":     {func(c *server.Config) { c.HTTPListen = "8080" }, []string{"http-listen host:port"}},
		"a port that is none":        {func(c *server.Config) { c.GRPCListen = "127.0.0.1:65536" }, []string{"grpc-listen host:port"}},
		"a URL's port that is none":  {func(c *server.Config) { c.UpstreamURL = "http://127.0.0.1:65536" }, []string{"upstream-url URL"}},
		"a URL with a port alone":    {func(c *server.Config) { c.TokenURL = "https://:443/token" }, []string{"token-url URL"}},
		"no caller auth":             {func(c *server.Config) { c.CallerAuth = nil }, []string{"caller-auth none"}},
		"an audit log in no place":   {func(c *server.Config) { c.AuditLog = filepath.Join(missing, "log") }, []string{"audit-log written"}},
		"a directory as audit log":   {func(c *server.Config) { c.AuditLog = filepath.Dir(empty) }, []string{"audit-log written"}},
		"a policy's unknown key":     {func(c *server.Config) { jwt(c); c.CallerPolicyFile = policy }, []string{"caller-policy-file subjects; line 3: the value is of the wrong type"}},
		"no admin address":           {func(c *server.Config) { c.AdminListen = "" }, []string{"admin-listen host:port"}},
		"no timeout":                 {func(c *server.Config) { c.UpstreamTimeout = 0 }, []string{"upstream-timeout less"}},
		"negative attempt timeout":   {func(c *server.Config) { c.UpstreamAttemptTimeout = -1 }, []string{"upstream-attempt-timeout less"}},
		"no attempt":                 {func(c *server.Config) { c.UpstreamMaxAttempts = 0 }, []string{"upstream-max-attempts less"}},
		"negative concurrency":       {func(c *server.Config) { c.UpstreamMaxConcurrency = -1 }, []string{"upstream-max-concurrency less"}},
		"key without certificate":    {func(c *server.Config) { c.TLSKeyFile = empty }, []string{"tls-cert-file missing"}},
		"certificate without key":    {func(c *server.Config) { c.TLSCertFile = empty }, []string{"tls-key-file missing"}},
		"no certificate in the file": {func(c *server.Config) { c.TLSCertFile, c.TLSKeyFile = empty, empty }, []string{"tls-cert-file PEM"}},
		"client CA without TLS":      {func(c *server.Config) { c.TLSClientCAFile = empty }, []string{"tls-client-ca-file TLS"}},
		"unknown TLS version":        {func(c *server.Config) { c.TLSMinVersion = "1.1" }, []string{"tls-min-version 1.3"}},
		"unknown caller auth":        {func(c *server.Config) { c.CallerAuth = []string{"basic"} }, []string{"caller-auth mtls"}},
		"no caller auth and one":     {func(c *server.Config) { c.CallerAuth = []string{"none", "mtls"} }, []string{"caller-auth contradicts", "tls-client-ca-file missing"}},
		"mtls without a client CA":   {func(c *server.Config) { c.CallerAuth = []string{"mtls"} }, []string{"tls-client-ca-file missing"}},
		"jwt without an issuer":      {func(c *server.Config) { c.CallerAuth = []string{"jwt"} }, []string{"jwt-issuer missing", "jwt-audience missing"}},
		"jwt, issuer not a URL":      {func(c *server.Config) { jwt(c); c.JWTIssuer = "me" }, []string{"jwt-issuer URL"}},
		"jwt, keys not at a URL":     {func(c *server.Config) { jwt(c); c.JWTJWKSURL = "keys" }, []string{"jwt-jwks-url URL"}},
		"jwt, CAs of no file":        {func(c *server.Config) { jwt(c); c.JWTCAFile = missing }, []string{"jwt-ca-file no such file"}},
		"CAs without jwt":            {func(c *server.Config) { c.JWTCAFile = empty }, []string{"jwt-ca-file --caller-auth=jwt"}},
		"jwt, keys in the clear":     {func(c *server.Config) { jwt(c); c.JWTJWKSURL = "http://example.com/keys" }, []string{"jwt-jwks-url --insecure"}},
		"jwt, issuer in the clear":   {func(c *server.Config) { jwt(c); c.JWTIssuer = "http://example.com" }, []string{"jwt-jwks-url --insecure"}},
		"jwt and passthrough":        {func(c *server.Config) { passthrough(c); jwt(c) }, []string{"caller-auth contradicts"}},
		"an issuer without jwt":      {func(c *server.Config) { c.JWTIssuer = "https://example.com" }, []string{"jwt-issuer --caller-auth"}},
		"a policy without callers":   {func(c *server.Config) { c.CallerPolicyFile = missing }, []string{"caller-policy-file names", "caller-policy-file readable"}},
		"an empty policy":            {func(c *server.Config) { jwt(c); c.CallerPolicyFile = empty }, []string{"caller-policy-file callers"}},
		"negative TTL":               {func(c *server.Config) { c.CacheTTL = -1 }, []string{"cache-ttl less"}},
		"stale without a cache":      {func(c *server.Config) { c.CacheStaleIfError = 1 }, []string{"cache-stale-if-error --cache-ttl"}},
		"Redis without a cache":      {func(c *server.Config) { c.CacheRedisURL = secret.New("redis://:hunter2@127.0.0.1") }, []string{"cache-redis-url --cache-ttl"}},
		"Redis at no URL":            {func(c *server.Config) { c.CacheTTL, c.CacheRedisURL = 1, secret.New("hunter2") }, []string{"cache-redis-url rediss://"}},
		"Redis and passthrough":      {func(c *server.Config) { passthrough(c); c.CacheTTL, c.CacheRedisURL = 1, secret.New("redis://a") }, []string{"cache-redis-url contradicts"}},
		"Redis in the clear":         {func(c *server.Config) { c.CacheTTL, c.CacheRedisURL = 1, secret.New("redis://:hunter2@redis.example") }, []string{"cache-redis-url --insecure"}},
		"a node in the clear": {func(c *server.Config) {
			c.CacheTTL, c.CacheRedisURL = 1, secret.New("redis://:hunter2@[::1]?addr=redis.example")
		}, []string{"cache-redis-url rediss://"}},
		"Redis, user, no password":  {func(c *server.Config) { c.CacheTTL, c.CacheRedisURL = 1, secret.New("redis://hunter2@127.0.0.1") }, []string{"cache-redis-url password"}},
		"negative drain delay":      {func(c *server.Config) { c.ShutdownDrainDelay = -1 }, []string{"shutdown-drain-delay less"}},
		"negative stop timeout":     {func(c *server.Config) { c.ShutdownTimeout = -1 }, []string{"shutdown-timeout less"}},
		"gRPC beyond loopback":      {func(c *server.Config) { c.GRPCListen = "0.0.0.0:9090" }, []string{"grpc-listen --insecure"}},
		"gRPC everywhere":           {func(c *server.Config) { c.GRPCListen = ":9090" }, []string{"grpc-listen --insecure"}},
		"REST everywhere":           {func(c *server.Config) { c.HTTPListen = "[::]:8080" }, []string{"http-listen --insecure"}},
		"REST by a name":            {func(c *server.Config) { c.HTTPListen = "example.com:8080" }, []string{"http-listen --insecure"}},
		"upstream in the clear":     {func(c *server.Config) { c.UpstreamURL = "http://192.0.2.1/api" }, []string{"upstream-url --insecure"}},
		"token URL in the clear":    {func(c *server.Config) { c.TokenURL = "http://example.com/token/" }, []string{"token-url --insecure"}},
		"passthrough, API in clear": {func(c *server.Config) { passthrough(c); c.UpstreamURL = "http://example.com" }, []string{"upstream-url --insecure"}},
		"origins that are none": {func(c *server.Config) {
			c.CORSAllowedOrigin = []string{
				"https://portal.example", "http://127.0.0.1:3000", "app://portal", // these are
				"*", "null", "portal.example", "https://portal.example/", "https://portal.example/app", "https://*.example", "https://Portal.example",
				"https://portal.example:443", "http://portal.example:80", "https://", "https://a@portal.example", "",
			}
		}, slices.Repeat([]string{"cors-allowed-origin https://portal.example"}, 12)},
		"many at once, in one order": {func(c *server.Config) { c.GRPCListen, c.ClientID, c.LogFormat = "", "", "" }, []string{"grpc-listen", "client-id", "log-format"}},
	} {
		t.Run(name, func(t *testing.T) {
			config := settings(u)
			c.change(&config)
			err := config.Check()
			if err == nil {
				t.Fatal("not refused")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(c.want) {
				t.Fatalf("%d lines, want %d: %v", len(lines), len(c.want), err)
			}
			for i, line := range lines {
				flag, word, _ := strings.Cut(c.want[i], " ")
				variable := "PODERO_FACADE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
				if !strings.HasPrefix(line, fmt.Sprintf("--%s (%s): ", flag, variable)) || !strings.Contains(line, word) {
					t.Errorf("line %q, want --%s and %q", line, flag, word)
				}
				if strings.Contains(line, "hunter2") {
					t.Errorf("a password is in %q", line)
				}
			}
		})
	}
}

// jwt makes callers bring tokens.
func jwt(c *server.Config) {
	c.CallerAuth = []string{server.CallerJWT}
	c.JWTIssuer, c.JWTAudience = "https://issuer.example", "podero-facade"
}

func TestSettingsThatAreAllowed(t *testing.T) {
	u := newUpstream(t, nil, nil)
	for name, change := range map[string]func(*server.Config){
		"as they are":                   func(*server.Config) {},
		"localhost":                     func(c *server.Config) { c.HTTPListen = "localhost:0" },
		"loopback of IPv6":              func(c *server.Config) { c.GRPCListen = "[::1]:0" },
		"another loopback address":      func(c *server.Config) { c.GRPCListen = "127.1.2.3:0" },
		"beyond loopback, insecure":     func(c *server.Config) { c.GRPCListen, c.Insecure = ":0", true },
		"in the clear, insecure":        func(c *server.Config) { c.TokenURL, c.Insecure = "http://example.com/", true },
		"passthrough beyond loopback":   func(c *server.Config) { passthrough(c); c.GRPCListen, c.HTTPListen = ":0", ":0" },
		"passthrough, token URL unused": func(c *server.Config) { passthrough(c); c.TokenURL = "http://example.com/" },
		"beyond loopback, with tokens":  func(c *server.Config) { jwt(c); c.GRPCListen, c.HTTPListen = ":0", ":0" },
		"an issuer that is no URL":      func(c *server.Config) { jwt(c); c.JWTIssuer, c.JWTJWKSURL = "me", "https://issuer.example/keys" },
		"Redis in the clear, insecure": func(c *server.Config) {
			c.CacheTTL, c.CacheRedisURL, c.Insecure = 1, secret.New("redis://redis.example"), true
		},
		"Redis with TLS": func(c *server.Config) { c.CacheTTL, c.CacheRedisURL = 1, secret.New("rediss://redis.example") },
		"Redis on loopback": func(c *server.Config) {
			c.CacheTTL, c.CacheRedisURL = 1, secret.New("redis://:x@127.0.0.1?addr=localhost")
		},
		"admin beyond loopback":            func(c *server.Config) { c.AdminListen = ":0" },
		"no drain delay, no stop timeout":  func(c *server.Config) { c.ShutdownDrainDelay, c.ShutdownTimeout = 0, 0 },
		"https anywhere":                   func(c *server.Config) { c.UpstreamURL, c.TokenURL = "https://example.com", "https://example.com" },
		"a slash at the end":               func(c *server.Config) { c.UpstreamURL += "/" },
		"an upstream URL of a slash":       func(c *server.Config) { c.UpstreamURL = "http://[::1]:1/" },
		"an upstream URL without any path": func(c *server.Config) { c.UpstreamURL = "http://[::1]:1" },
	} {
		t.Run(name, func(t *testing.T) {
			config := settings(u)
			change(&config)
			if err := config.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOneSlashAtTheEndOfTheUpstreamURLIsIgnored(t *testing.T) {
	for base, want := range map[string]string{
		"/api/partners/v2.0": "/api/partners/v2.0/org/", "/api/partners/v2.0/": "/api/partners/v2.0/org/",
		"": "/org/", "/": "/org/", "/a%2Fb/": "/a%2Fb/org/",
	} {
		u := newUpstream(t, good, nil)
		s := start(t, u, func(c *server.Config) { c.UpstreamURL = u.server.URL + base })
		overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
			if got := lookup(theUser(), nil); got.user == nil {
				t.Fatalf("%q: reason %s, want a user: %s", base, got.reason, got.message)
			}
			requests := u.apiRequests()
			if got := requests[len(requests)-1].RequestURI; !strings.HasPrefix(got, want) {
				t.Errorf("%q: requested %s, want %s…", base, got, want)
			}
		})
	}
}

func TestTheRulesLeaveNoAuditLogBehind(t *testing.T) {
	config := settings(newUpstream(t, nil, nil))
	config.AuditLog = filepath.Join(t.TempDir(), "audit.log")
	if err := config.Check(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(config.AuditLog); !os.IsNotExist(err) {
		t.Errorf("error %v, want no file", err)
	}
	if err := os.WriteFile(config.AuditLog, []byte("a line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := config.Check(); err != nil {
		t.Error(err)
	}
	if content, err := os.ReadFile(config.AuditLog); err != nil || string(content) != "a line\n" {
		t.Errorf("content %q, error %v, want the line that was there", content, err)
	}
}

func TestAPrivateCAIsTrusted(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	api := httptest.NewTLSServer(u)
	defer api.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, u, func(c *server.Config) {
		c.UpstreamURL, c.TokenURL, c.UpstreamCAFile = api.URL+"/api/partners/v2.0", api.URL+"/oauth2/token/", file
	})
	if got := lookupREST(t.Context(), t, s, theUser(), nil); got.user == nil {
		t.Errorf("%s: %s", got.reason, got.message)
	}
	unknown := start(t, u, func(c *server.Config) { c.UpstreamURL = api.URL })
	unavailable.check(t, lookupREST(t.Context(), t, unknown, theUser(), nil))
	if log := unknown.log.String(); !strings.Contains(log, "certificate") {
		t.Errorf("the log does not say why: %s", log)
	}
}
