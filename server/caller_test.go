package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
)

// withTLS makes the service speak TLS, and trust a CA's client certificates.
func withTLS(t *testing.T, ca *authority) func(*server.Config) {
	dir := t.TempDir()
	certificate, key := writePair(t, dir, ca.issue(t, forServer()))
	file := ca.write(t, dir)
	return func(c *server.Config) {
		c.TLSCertFile, c.TLSKeyFile, c.TLSClientCAFile = certificate, key, file
	}
}

// as returns the service as a caller with a client certificate sees it, or with none.
func (s *service) as(t *testing.T, ca *authority, certificate *tls.Certificate) *service {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(ca.certificate)
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	if certificate != nil {
		// Whatever the service asks for: a caller who means no good sends what it has.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	conn, err := grpc.NewClient(s.GRPCAddr().String(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true}
	t.Cleanup(func() {
		_ = conn.Close()
		transport.CloseIdleConnections()
	})
	other := *s
	other.scheme, other.failFast, other.conn, other.grpc = "https", true, conn, userv1.NewUserServiceClient(conn)
	other.rest = &http.Client{Transport: transport}
	return &other
}

// lookupOnce is a lookup that may fail in the handshake. It reports whether the caller got a user, and the
// reason if the service gave one.
func lookupOnce(ctx context.Context, t *testing.T, s *service, protocol string, request *userv1.GetUserByExternalIdRequest, header http.Header) (found bool, reason string) {
	t.Helper()
	if protocol == "gRPC" {
		got := lookupGRPC(ctx, t, s, request, header)
		return got.user != nil, got.reason
	}
	probe, err := http.NewRequestWithContext(ctx, http.MethodGet, s.scheme+"://"+s.HTTPAddr().String()+restPath(request), nil)
	if err != nil {
		t.Fatal(err)
	}
	probe.Header = header.Clone()
	if probe.Header == nil {
		probe.Header = http.Header{}
	}
	response, err := s.rest.Do(probe)
	if err != nil {
		return false, ""
	}
	_ = response.Body.Close()
	got := lookupREST(ctx, t, s, request, header)
	return got.user != nil, got.reason
}

// withJWT makes the service want tokens of an issuer.
func withJWT(i *issuer) func(*server.Config) {
	return func(c *server.Config) {
		c.CallerAuth = []string{server.CallerJWT}
		c.JWTIssuer, c.JWTAudience, c.JWTJWKSURL = i.server.URL, "podero-facade", i.server.URL+"/keys"
	}
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

var refusedCaller = failure{code: codes.Unauthenticated, http: 401, reason: "CALLER_UNAUTHENTICATED"}

func TestTokensThatGetNothing(t *testing.T) {
	i := newIssuer(t)
	u := newUpstream(t, good, nil)
	s := start(t, u, withJWT(i))
	one, stranger := i.keys["one"], newKey(t)
	public, err := x509.MarshalPKIXPublicKey(&one.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	valid := i.sign(t, one, nil, nil)
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		if got := lookup(theUser(), bearer(valid)); got.user == nil {
			t.Fatalf("a good token got %s: %s\n%s", got.reason, got.message, s.log)
		}
	})
	before := len(u.apiRequests())
	now := time.Now()
	for name, header := range map[string]http.Header{
		"no token":                   nil,
		"an empty token":             {"Authorization": {"Bearer "}},
		"another scheme":             {"Authorization": {"Basic " + valid}},
		"malformed":                  bearer("a.b"),
		"cut short":                  bearer(valid[:len(valid)-4]),
		"expired":                    bearer(i.sign(t, one, nil, map[string]any{"exp": now.Add(-time.Minute).Unix()})),
		"not yet valid":              bearer(i.sign(t, one, nil, map[string]any{"nbf": now.Add(time.Hour).Unix()})),
		"wrong issuer":               bearer(i.sign(t, one, nil, map[string]any{"iss": "https://evil.example"})),
		"wrong audience":             bearer(i.sign(t, one, nil, map[string]any{"aud": "other"})),
		"no expiry":                  bearer(i.sign(t, one, nil, map[string]any{"exp": nil})),
		"no subject":                 bearer(i.sign(t, one, nil, map[string]any{"sub": nil})),
		"an empty subject":           bearer(i.sign(t, one, nil, map[string]any{"sub": ""})),
		"no audience":                bearer(i.sign(t, one, nil, map[string]any{"aud": nil})),
		"no issuer":                  bearer(i.sign(t, one, nil, map[string]any{"iss": nil})),
		"no algorithm":               bearer(encode(t, map[string]any{"alg": "none"}) + "." + encode(t, i.claims()) + "."),
		"signed with the public key": bearer(hmacToken(t, public, i.claims())),
		"a stranger's key":           bearer(i.sign(t, stranger, nil, nil)),
		"a kid from elsewhere":       bearer(i.sign(t, one, map[string]any{"kid": "../../etc/passwd"}, nil)),
		"jku":                        bearer(i.sign(t, stranger, map[string]any{"jku": "https://evil.example/keys"}, nil)),
		"x5u":                        bearer(i.sign(t, stranger, map[string]any{"x5u": "https://evil.example/cert"}, nil)),
		"two headers":                {"Authorization": {"Bearer " + valid, "Bearer " + valid}},
		"the gateway's metadata":     {"Grpc-Metadata-Authorization": {"Bearer " + valid}},
		"another header":             {"X-Authorization": {"Bearer " + valid}},
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				refusedCaller.check(t, lookup(theUser(), header))
			})
		})
	}
	if n := len(u.apiRequests()) - before; n != 0 {
		t.Errorf("%d calls without good credentials reached Podero", n)
	}
	if strings.Contains(s.log.String(), valid[:40]) {
		t.Error("a token is in the log")
	}
	s.checkDiscretion(t)
	if response, err := healthpb.NewHealthClient(s.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("health needs credentials: %v, %v", response, err)
	}
}

func TestAKeyServerThatIsGoneIsHarmlessWhileKeysAreKnown(t *testing.T) {
	i := newIssuer(t)
	s := start(t, newUpstream(t, good, nil), withJWT(i))
	if got := lookupGRPC(t.Context(), t, s, theUser(), bearer(i.sign(t, i.keys["one"], nil, nil))); got.user == nil {
		t.Fatal(got.reason)
	}
	i.server.Close()
	if got := lookupGRPC(t.Context(), t, s, theUser(), bearer(i.sign(t, i.keys["one"], nil, nil))); got.user == nil {
		t.Errorf("without the key server: %s", got.reason)
	}
}

// spiffe is the name of a caller in the policy of these tests.
const spiffe = "spiffe://corp.example/ns/billing/sa/invoices"

func TestCertificatesThatGetNothing(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	u := newUpstream(t, good, nil)
	tlsOn := withTLS(t, ca)
	s := start(t, u, func(c *server.Config) {
		tlsOn(c)
		c.CallerAuth = []string{server.CallerMTLS}
	})
	expired := forClient(spiffe)
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	wrongUse := forClient(spiffe)
	wrongUse.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, protocol := range protocols {
		for name, c := range map[string]struct {
			certificate *tls.Certificate
			found       bool
		}{
			"good":         {ca.issue(t, forClient(spiffe)), true},
			"a DNS name":   {ca.issue(t, &x509.Certificate{DNSNames: []string{"billing.corp.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}), true},
			"none":         {nil, false},
			"another CA's": {stranger.issue(t, forClient(spiffe)), false},
			"expired":      {ca.issue(t, expired), false},
			"for servers":  {ca.issue(t, wrongUse), false},
			"two names":    {ca.issue(t, forClient(spiffe, "spiffe://corp.example/other")), false},
			"no name":      {ca.issue(t, forClient()), false},
		} {
			t.Run(protocol.name+" "+name, func(t *testing.T) {
				header := http.Header{"X-Forwarded-Client-Cert": {"URI=" + spiffe}, "Grpc-Metadata-Peer": {spiffe}}
				found, reason := lookupOnce(t.Context(), t, s.as(t, ca, c.certificate), protocol.name, theUser(), header)
				if found != c.found || reason != "" && reason != "CALLER_UNAUTHENTICATED" {
					t.Errorf("found %v, reason %s", found, reason)
				}
			})
		}
	}
	s.checkDiscretion(t)
	// In TLS 1.3 a client is done before the server has looked at its certificate, and so before the log has.
	s.awaitLogged(t, 6, "TLS handshake")
	s.awaitLogged(t, 3, `"listener":"grpc"`)
}

func TestEitherKindSufficesAndABadOneIsRefusedBesideAGoodOne(t *testing.T) {
	i, ca := newIssuer(t), newAuthority(t)
	tlsOn, jwtOn := withTLS(t, ca), withJWT(i)
	s := start(t, newUpstream(t, good, nil), func(c *server.Config) {
		tlsOn(c)
		jwtOn(c)
		c.CallerAuth = []string{server.CallerMTLS, server.CallerJWT}
	})
	certificate, token := ca.issue(t, forClient(spiffe)), i.sign(t, i.keys["one"], nil, nil)
	for name, c := range map[string]struct {
		certificate *tls.Certificate
		header      http.Header
		found       bool
	}{
		"a certificate":              {certificate, nil, true},
		"a token":                    {nil, bearer(token), true},
		"both":                       {certificate, bearer(token), true},
		"neither":                    {nil, nil, false},
		"a certificate, a bad token": {certificate, bearer(token + "x"), false},
		"a bad certificate, a token": {ca.issue(t, forClient()), bearer(token), false},
		// What gRPC's metadata can't carry is refused, not left out.
		"a certificate, a token beyond ASCII": {certificate, bearer("j\xffnk"), false},
		"a certificate, nothing":              {certificate, http.Header{"Authorization": {""}}, false},
		"a token, another beyond ASCII":       {nil, http.Header{"Authorization": {"Bearer " + token, "Bearer j\xffnk"}}, false},
	} {
		for _, protocol := range protocols {
			t.Run(protocol.name+" "+name, func(t *testing.T) {
				if found, reason := lookupOnce(t.Context(), t, s.as(t, ca, c.certificate), protocol.name, theUser(), c.header); found != c.found {
					t.Errorf("found %v, reason %s", found, reason)
				}
			})
		}
	}
}

const policyText = `callers:
  - subject: crm-sync
    organizations: [016b78a7-0c7c-4241-a277-015c3ad3cb90]
  - certificate: spiffe://corp.example/ns/billing/sa/invoices
    organizations: ["*"]
    include_deleted: true
`

func TestThePolicyAndTheAuditLog(t *testing.T) {
	i := newIssuer(t)
	dir := t.TempDir()
	policy, audit := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(policy, []byte(policyText), 0o600); err != nil {
		t.Fatal(err)
	}
	u := newUpstream(t, good, nil)
	jwtOn := withJWT(i)
	s := start(t, u, func(c *server.Config) {
		jwtOn(c)
		c.CallerPolicyFile, c.AuditLog = policy, audit
	})
	token := bearer(i.sign(t, i.keys["one"], nil, nil))
	other := "99999999-0c7c-4241-a277-015c3ad3cb90"
	for name, c := range map[string]struct {
		request *userv1.GetUserByExternalIdRequest
		header  http.Header
		reason  string
	}{
		"allowed":                      {theUser(), token, ""},
		"in upper case":                {&userv1.GetUserByExternalIdRequest{OrgId: strings.ToUpper(orgID), ExternalId: "x"}, token, ""},
		"deleted users":                {&userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: "x", IncludeDeleted: true}, token, "CALLER_FORBIDDEN"},
		"another organization":         {&userv1.GetUserByExternalIdRequest{OrgId: other, ExternalId: externalID}, token, "CALLER_FORBIDDEN"},
		"another, in upper case":       {&userv1.GetUserByExternalIdRequest{OrgId: strings.ToUpper(other), ExternalId: "x"}, token, "CALLER_FORBIDDEN"},
		"in braces":                    {&userv1.GetUserByExternalIdRequest{OrgId: "{" + orgID + "}", ExternalId: "x"}, token, "CALLER_FORBIDDEN"},
		"as a URN":                     {&userv1.GetUserByExternalIdRequest{OrgId: "urn:uuid:" + orgID, ExternalId: "x"}, token, "CALLER_FORBIDDEN"},
		"another caller":               {theUser(), bearer(i.sign(t, i.keys["one"], nil, map[string]any{"sub": "stranger"})), "CALLER_FORBIDDEN"},
		"a subject like a certificate": {theUser(), bearer(i.sign(t, i.keys["one"], nil, map[string]any{"sub": spiffe})), "CALLER_FORBIDDEN"},
		"nobody":                       {theUser(), nil, "CALLER_UNAUTHENTICATED"},
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				before := len(u.apiRequests())
				got := lookup(c.request, c.header)
				if got.reason != c.reason || got.http != nil && c.reason == "CALLER_FORBIDDEN" && got.http.StatusCode != 403 {
					t.Errorf("reason %q, want %q", got.reason, c.reason)
				}
				if c.reason != "" && len(u.apiRequests()) != before {
					t.Error("a call that is denied reached Podero")
				}
			})
		})
	}
	got := s.call(t.Context(), t, http.MethodGet, "/api/partners/v2.0/org/%39"+other[1:]+"/users/by-ext-id/x?org_id="+orgID, token)
	if got.reason != "CALLER_FORBIDDEN" {
		t.Errorf("percent-encoded: %s", got.reason)
	}
	record, err := os.ReadFile(audit)
	for end := time.Now().Add(testLimit); err == nil && strings.Count(string(record), "\n") < 21 && time.Now().Before(end); {
		<-time.After(time.Millisecond) // lines are written a moment later
		record, err = os.ReadFile(audit)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"caller":"subject:crm-sync"`, `"credential":"jti:token-7"`, `"address":"127.0.0.1"`, `"include_deleted":true`, `"organization":"` + other + `"`, `"outcome":"OK"`, `"outcome":"CALLER_FORBIDDEN"`, `"outcome":"CALLER_UNAUTHENTICATED"`} {
		if !strings.Contains(string(record), part) {
			t.Errorf("the audit log has no %s", part)
		}
	}
	if lines := strings.Count(string(record), "\n"); lines != 21 {
		t.Errorf("%d lines in the audit log, want one for each call", lines)
	}
	if secretIn(strings.ReplaceAll(string(record), `"address":"127.0.0.1"`, "")) {
		t.Errorf("the audit log tells too much: %s", record)
	}
	if log := s.log.String(); !strings.Contains(log, `"level":"WARN"`) || !strings.Contains(log, "subject:stranger") {
		t.Errorf("the log has no denial: %s", log)
	}
	s.checkDiscretion(t)

	// A wrong policy changes nothing; a new one counts within seconds.
	replace := func(text string) {
		if err := os.WriteFile(policy+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(policy+".new", policy); err != nil {
			t.Fatal(err)
		}
	}
	replace("callers: [{subject: crm-sync}]")
	s.awaitLog(t, `"level":"ERROR"`)
	if got := lookupREST(t.Context(), t, s, theUser(), token); got.user == nil {
		t.Errorf("after a wrong policy: %s", got.reason)
	}
	replace("callers: []")
	deadline := time.Now().Add(testLimit)
	for lookupREST(t.Context(), t, s, theUser(), token).user != nil {
		if time.Now().After(deadline) {
			t.Fatal("a new policy does not count")
		}
	}
}

// awaitLog waits until the log has some text.
func (s *service) awaitLog(t *testing.T, text string) {
	t.Helper()
	s.awaitLogged(t, 1, text)
}

// awaitLogged waits until the log has some text so many times.
func (s *service) awaitLogged(t *testing.T, times int, text string) {
	t.Helper()
	for deadline := time.Now().Add(testLimit); strings.Count(s.log.String(), text) < times; {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not in the log %d times: %s", text, times, s.log)
		}
		<-time.After(time.Millisecond)
	}
}

// TestAKeyThatReplacesAnotherIsFetched has tokens that don't say which key signed them.
func TestAKeyThatReplacesAnotherIsFetched(t *testing.T) {
	i := newIssuer(t)
	s := start(t, newUpstream(t, good, nil), withJWT(i))
	for _, key := range []*ecdsa.PrivateKey{i.keys["one"], newKey(t)} {
		i.rotate(map[string]*ecdsa.PrivateKey{"one": key})
		token := bearer(i.sign(t, key, map[string]any{"kid": nil}, nil))
		overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
			if got := lookup(theUser(), token); got.user == nil {
				t.Errorf("reason %s, want a user: %s", got.reason, got.message)
			}
		})
	}
}

func TestACertificateThatChangesIsUsed(t *testing.T) {
	ca := newAuthority(t)
	dir := t.TempDir()
	certificate, key := writePair(t, dir, ca.issue(t, forServer()))
	s := start(t, newUpstream(t, good, nil), func(c *server.Config) { c.TLSCertFile, c.TLSKeyFile = certificate, key })
	serial := func(address string) string {
		t.Helper()
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if state := conn.ConnectionState(); state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "h2" {
			t.Errorf("version %x, protocol %q", state.Version, state.NegotiatedProtocol)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	old := serial(s.GRPCAddr().String())
	writePair(t, dir, ca.issue(t, forServer()))
	s.awaitLog(t, "watched file reloaded")
	for _, address := range []string{s.GRPCAddr().String(), s.HTTPAddr().String()} {
		if serial(address) == old {
			t.Errorf("%s has the old certificate", address)
		}
	}
	if err := os.WriteFile(certificate, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.awaitLog(t, "can't be used")
	if serial(s.HTTPAddr().String()) == old {
		t.Error("rubbish brought the old certificate back")
	}
}

func TestVersionsAndProtocolsOfTLS(t *testing.T) {
	ca := newAuthority(t)
	for _, lowest := range []string{"1.3", "1.2"} {
		tlsOn := withTLS(t, ca)
		s := start(t, newUpstream(t, good, nil), func(c *server.Config) { tlsOn(c); c.TLSMinVersion = lowest })
		for version, allowed := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: lowest == "1.2", tls.VersionTLS13: true} {
			conn, err := tls.Dial("tcp", s.HTTPAddr().String(), &tls.Config{
				InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, NextProtos: []string{"http/1.1"},
			})
			if (err == nil) != allowed {
				t.Errorf("lowest %s: version %x: %v", lowest, version, err)
			}
			if err == nil {
				_ = conn.Close()
			}
		}
		if got := lookupREST(t.Context(), t, s.as(t, ca, nil), theUser(), nil); got.user == nil || got.http.ProtoMajor != 2 {
			t.Errorf("HTTP/2 over TLS: %s", got.reason)
		}
		// Neither port answers in the clear, an upgrade to HTTP/2 included.
		for _, address := range []string{s.HTTPAddr().String(), s.GRPCAddr().String()} {
			conn := dial(t, address)
			_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", lookupPath)
			answer := make([]byte, 12)
			n, _ := conn.Read(answer)
			if strings.Contains(string(answer[:n]), "101") || strings.Contains(string(answer[:n]), "200") {
				t.Errorf("answer %q", answer[:n])
			}
		}
	}
}

func TestCORS(t *testing.T) {
	u := newUpstream(t, good, nil)
	s := start(t, u, func(c *server.Config) { c.CORSAllowedOrigin = []string{"https://portal.example"} })
	preflight := http.Header{"Access-Control-Request-Method": {"GET"}}
	for origin, allowed := range map[string]bool{"https://portal.example": true, "https://evil.example": false, "https://portal.example.evil": false, "null": false} {
		got := lookupREST(t.Context(), t, s, theUser(), http.Header{"Origin": {origin}})
		if header := got.http.Header.Get("Access-Control-Allow-Origin"); (header == origin) != allowed || header == "*" {
			t.Errorf("%s: Access-Control-Allow-Origin %q", origin, header)
		}
		preflight.Set("Origin", origin)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://"+s.HTTPAddr().String()+lookupPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = preflight
		response, err := s.rest.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if (response.StatusCode == 204) != allowed || (response.Header.Get("Access-Control-Allow-Methods") != "") != allowed {
			t.Errorf("%s: preflight %d %v", origin, response.StatusCode, response.Header)
		}
		if got.http.Header.Get("Vary") != "Origin" || response.Header.Get("Vary") != "Origin" {
			t.Errorf("%s: answers vary with %q and %q", origin, got.http.Header.Get("Vary"), response.Header.Get("Vary"))
		}
		for _, name := range []string{"X-Request-Id", "Content-Security-Policy", "X-Content-Type-Options", "Cache-Control"} {
			if response.Header.Get(name) == "" {
				t.Errorf("%s: a preflight's response has no %s", origin, name)
			}
		}
		if !allowed {
			continue
		}
		// What the API takes and gives beyond the headers that the Fetch standard always lets pass.
		for _, c := range []struct{ list, want string }{
			{response.Header.Get("Access-Control-Allow-Methods"), "GET HEAD"},
			{response.Header.Get("Access-Control-Allow-Headers"), "Authorization Grpc-Timeout Traceparent X-Request-Id"},
			{got.http.Header.Get("Access-Control-Expose-Headers"), "Age Retry-After WWW-Authenticate X-Cache X-Request-Id"},
		} {
			names := strings.Split(c.list, ", ")
			slices.Sort(names)
			if strings.Join(names, " ") != c.want {
				t.Errorf("%s, want %s", c.list, c.want)
			}
		}
	}
	off := start(t, u, nil)
	if got := lookupREST(t.Context(), t, off, theUser(), http.Header{"Origin": {"https://portal.example"}}); got.http.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("CORS is on by default")
	}
}

// TestACallerLearnsWhichCredentialWasRejected and not why, which would help to guess.
func TestACallerLearnsWhichCredentialWasRejected(t *testing.T) {
	i, ca := newIssuer(t), newAuthority(t)
	tlsOn, jwtOn := withTLS(t, ca), withJWT(i)
	s := start(t, newUpstream(t, good, nil), func(c *server.Config) {
		tlsOn(c)
		jwtOn(c)
		c.CallerAuth = []string{server.CallerMTLS, server.CallerJWT}
	})
	expired := i.sign(t, i.keys["one"], nil, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()})
	for name, c := range map[string]struct {
		certificate                   *tls.Certificate
		header                        http.Header
		challenge, message, notInside string
	}{
		"nothing":                      {nil, nil, "Bearer", "no credentials", ""},
		"a password":                   {nil, http.Header{"Authorization": {"Basic eDp5"}}, "Bearer", "Authorization header of the call is no bearer token", ""},
		"a token that expired":         {nil, bearer(expired), `Bearer error="invalid_token"`, "bearer token of the call was rejected", "expired on"},
		"a certificate without a name": {ca.issue(t, forClient()), nil, "Bearer", "client certificate of the call was rejected", "SAN"},
	} {
		for _, protocol := range protocols {
			t.Run(protocol.name+" "+name, func(t *testing.T) {
				got := protocol.lookup(t.Context(), t, s.as(t, ca, c.certificate), theUser(), c.header)
				if !strings.Contains(got.message, c.message) || c.notInside != "" && strings.Contains(got.message, c.notInside) {
					t.Errorf("got the message %q", got.message)
				}
				if got.http != nil && got.http.Header.Get("WWW-Authenticate") != c.challenge {
					t.Errorf("got the challenge %q, want %q", got.http.Header.Get("WWW-Authenticate"), c.challenge)
				}
			})
		}
	}
}
