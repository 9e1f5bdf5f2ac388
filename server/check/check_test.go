package check_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/check"
	"example.com/podero-facade/server/sandbox"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/token"
)

// The lines of steps that succeed.
const (
	configured = `✓ configuration: every setting is well formed`
	dns        = `✓ upstream DNS: 127\.0\.0\.1 is an address`
	tcp        = `✓ upstream TCP: connected to 127\.0\.0\.1:\d+ in [\d.]+(µs|ms|s)`
	plain      = `- upstream TLS: not tried, because --upstream-url is http://`
	dns2       = `✓ token endpoint DNS: 127\.0\.0\.1 is an address`
	tcp2       = `✓ token endpoint TCP: connected to 127\.0\.0\.1:\d+ in [\d.]+(µs|ms|s)`
	plain2     = `- token endpoint TLS: not tried, because --token-url is http://`
	issued     = `✓ token: a Bearer token for 1h0m0s, asked for as JSON, scope "read write"`
	denied     = `✓ lookup: 403 with JSON: the base URL is right; these credentials may not read ` + nilUUID
	unasked    = `- lookup: not tried, because there is no token`
)

func TestWhatIsRight(t *testing.T) {
	url := listen(t, newSandbox(t))
	for name, c := range map[string]struct {
		change func(*server.Config)
		orgID  string
		want   []string
	}{
		"an organization of others": {func(*server.Config) {}, nilUUID, []string{configured, dns, tcp, plain, issued, denied}},
		"one's own organization": {func(*server.Config) {}, sandbox.OrgID, []string{configured, dns, tcp, plain, issued,
			`✓ lookup: 404 with JSON: the base URL is right, and ` + sandbox.OrgID + ` has no such user, as it should`}},
		"a form": {func(c *server.Config) { c.TokenRequestFormat = token.Form }, nilUUID, []string{configured, dns, tcp, plain,
			strings.Replace(issued, "JSON", "form", 1), denied}},
		"an endpoint for forms that tells no scope": {func(c *server.Config) { c.TokenURL = listen(t, formsOnly()) }, nilUUID,
			[]string{configured, dns, tcp, plain, dns2, tcp2, plain2, `✓ token: a Bearer token for 1m0s, asked for as form, scope not told`, `✗ lookup: .*`}},
		"a secret in a file": {func(c *server.Config) {
			c.ClientSecret, c.ClientSecretFile = secret.Text{}, write(t, "secret", sandbox.ClientSecret+"\n")
		}, nilUUID, []string{configured, `✓ client secret: \S+/secret is readable`, dns, tcp, plain, issued, denied}},
		"a token endpoint elsewhere": {func(c *server.Config) { c.TokenURL = listen(t, newSandbox(t)) + sandbox.TokenPath }, nilUUID,
			[]string{configured, dns, tcp, plain, dns2, tcp2, plain2, issued,
				`✗ lookup: UPSTREAM_UNAUTHENTICATED \(HTTP status 401\); check that --token-url and --upstream-url are of the same environment, and what rights the credentials have`}},
		"passthrough": {func(c *server.Config) {
			c.UpstreamAuth, c.ClientID, c.ClientSecret = server.AuthPassthrough, "", secret.Text{}
		}, nilUUID, []string{configured, dns, tcp, plain, `- token: not tried, because with --upstream-auth=passthrough .*`, `- lookup: not tried, because with --upstream-auth=passthrough .*`}},
	} {
		t.Run(name, func(t *testing.T) {
			config := newConfig(t, url)
			c.change(&config)
			verify(t, config, c.orgID, c.want)
		})
	}
}

// formsOnly is a token endpoint that can't read JSON, as django-oauth-toolkit's by default.
func formsOnly() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Content-Type") == "application/json":
			answers(400, "application/json", `{"error":"unsupported_grant_type"}`).ServeHTTP(w, r)
		case r.PostFormValue("grant_type") != "client_credentials":
			answers(400, "text/plain", "").ServeHTTP(w, r)
		default:
			answers(200, "application/json", `{"access_token":"x","token_type":"Bearer","expires_in":60}`).ServeHTTP(w, r)
		}
	})
}

func TestAnInterruptedCheckFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if failed := check.Run(ctx, newConfig(t, listen(t, newSandbox(t))), nil, nilUUID, func(check.Step) {}); failed == 0 {
		t.Error("it says that all is well")
	}
}

func TestSettingsThatAreWrong(t *testing.T) {
	url := listen(t, newSandbox(t))
	for name, c := range map[string]struct {
		change func(*server.Config)
		want   []string
	}{
		"no credentials": {func(c *server.Config) { c.ClientID, c.ClientSecret = "", secret.Text{} }, []string{
			`✗ configuration: --client-id \(PODERO_FACADE_CLIENT_ID\): is missing; give the client ID that Podero issued`,
			`✗ configuration: --client-secret-file \(PODERO_FACADE_CLIENT_SECRET_FILE\): is missing; name the file with the client secret, or set PODERO_FACADE_CLIENT_SECRET`,
			dns, tcp, plain, `- token: not tried, because --client-id is wrong`, unasked}},
		"no time": {func(c *server.Config) { c.UpstreamAttemptTimeout = 0 }, []string{
			`✗ configuration: --upstream-attempt-timeout \(\S+\): 0s is less than 1ms; give more`,
			`- upstream DNS: not tried, because --upstream-attempt-timeout is wrong`, `- upstream TCP: not tried, .*`, `- upstream TLS: not tried, .*`,
			`- token: not tried, because --upstream-attempt-timeout is wrong`, `- lookup: not tried, because --upstream-attempt-timeout is wrong`}},
		"not a URL": {func(c *server.Config) { c.UpstreamURL = "https://a:hunter2@127.0.0.1:1/%" }, []string{
			`✗ configuration: --upstream-url \(\S+\): is not a URL; give one like https://host/path`,
			`- upstream DNS: not tried, because --upstream-url is wrong`, `- upstream TCP: not tried, .*`, `- upstream TLS: not tried, .*`,
			dns2, tcp2, plain2, issued, `- lookup: not tried, because --upstream-url is wrong`}},
		"a slash twice in the URL": {func(c *server.Config) { c.UpstreamURL += "//" }, []string{
			`✗ configuration: --upstream-url \(\S+\): has an empty segment \(//\) in its path; give each slash once`,
			`- upstream DNS: not tried, because --upstream-url is wrong`, `- upstream TCP: not tried, .*`, `- upstream TLS: not tried, .*`,
			dns2, tcp2, plain2, issued, `- lookup: not tried, because --upstream-url is wrong`}},
		"a query in the URL": {func(c *server.Config) { c.UpstreamURL += "?key=hunter2" }, []string{
			`✗ configuration: --upstream-url \(\S+\): has a query or a fragment; leave it out`,
			`- upstream DNS: not tried, because --upstream-url is wrong`, `- upstream TCP: not tried, .*`, `- upstream TLS: not tried, .*`,
			dns2, tcp2, plain2, issued, `- lookup: not tried, because --upstream-url is wrong`}},
		"a slash at the end of the URL, which is not": {func(c *server.Config) { c.UpstreamURL += "/" }, []string{
			configured, dns, tcp, plain, issued, denied}},
		"a password in the URL": {func(c *server.Config) { c.TokenURL = "https://a:hunter2@127.0.0.1:1" }, []string{
			`✗ configuration: --token-url \(\S+\): has credentials in it; leave them out`, dns, tcp, plain,
			`- token endpoint DNS: not tried, because --token-url is wrong`, `- token endpoint TCP: not tried, .*`, `- token endpoint TLS: not tried, .*`,
			`- token: not tried, because --token-url is wrong`, unasked}},
		"no CAs": {func(c *server.Config) { c.UpstreamCAFile = write(t, "empty", "") }, []string{
			`✗ configuration: --upstream-ca-file \(\S+\): \S+/empty has no certificate in it; give a PEM file with certificates`,
			`- upstream CAs: not tried, because --upstream-ca-file is wrong`,
			`- upstream DNS: not tried, because --upstream-ca-file is wrong`, `- upstream TCP: not tried, .*`, `- upstream TLS: not tried, .*`,
			`- token: not tried, because --upstream-ca-file is wrong`, `- lookup: not tried, because --upstream-ca-file is wrong`}},
	} {
		t.Run(name, func(t *testing.T) {
			config := newConfig(t, url)
			c.change(&config)
			verify(t, config, nilUUID, c.want)
		})
	}
}

func TestFilesAreLookedInto(t *testing.T) {
	url := listen(t, newSandbox(t))
	rest := []string{dns, tcp, plain, issued, denied}
	good, goodKey := certify(t, -time.Hour, 49*time.Hour)
	old, oldKey := certify(t, -2*time.Hour, -time.Hour)
	future, futureKey := certify(t, time.Hour, 2*time.Hour)
	for name, c := range map[string]struct {
		change func(*server.Config)
		want   []string
	}{
		"a certificate": {func(c *server.Config) { c.TLSCertFile, c.TLSKeyFile, c.TLSClientCAFile = good, goodKey, good },
			[]string{configured, `✓ certificate: \S+/cert.pem fits its key and is valid for 2 days, until \d{4}-\d\d-\d\d`,
				`✓ client CAs: \S+/cert.pem has 1 valid and 0 expired`}},
		"certificates that expired": {func(c *server.Config) { c.TLSCertFile, c.TLSKeyFile, c.TLSClientCAFile = old, oldKey, old },
			[]string{configured, `✗ certificate: \S+/cert.pem expired on \d{4}-\d\d-\d\d; renew --tls-cert-file`,
				`✗ client CAs: every certificate in \S+/cert.pem has expired \(1\); renew --tls-client-ca-file`}},
		"a certificate of the future": {func(c *server.Config) { c.TLSCertFile, c.TLSKeyFile = future, futureKey },
			[]string{configured, `✗ certificate: \S+/cert.pem is not valid before \S+; check this machine's clock, and --tls-cert-file`}},
		"another's key": {func(c *server.Config) { c.TLSCertFile, c.TLSKeyFile = good, oldKey },
			[]string{`✗ configuration: --tls-cert-file \(\S+\): .*private key does not match.*; give PEM files that belong together with --tls-key-file`,
				`- certificate: not tried, because --tls-cert-file is wrong`}},
		"no key": {func(c *server.Config) { c.TLSCertFile = good },
			[]string{`✗ configuration: --tls-key-file \(\S+\): is missing; .*`, `- certificate: not tried, because --tls-key-file is wrong`}},
		"no client CA": {func(c *server.Config) {
			c.TLSCertFile, c.TLSKeyFile, c.TLSClientCAFile = good, goodKey, write(t, "empty", "")
		}, []string{`✗ configuration: --tls-client-ca-file \(\S+\): \S+/empty: there is no certificate in it; give a PEM file with certificates`,
			`✓ certificate: .*`, `- client CAs: not tried, because --tls-client-ca-file is wrong`}},
		"a missing client CA": {func(c *server.Config) {
			c.TLSCertFile, c.TLSKeyFile, c.TLSClientCAFile = good, goodKey, good+".missing"
		}, []string{`✗ configuration: --tls-client-ca-file \(\S+\): stat \S+: no such file or directory; give a PEM file with certificates`,
			`✓ certificate: .*`, `- client CAs: not tried, because --tls-client-ca-file is wrong`}},
		"a policy": {guard(good, goodKey, write(t, "policy", `{callers: [{certificate: a, organizations: ["*"]}, {subject: b, organizations: ["*"]}]}`)),
			[]string{configured, `✓ certificate: .*`, `✓ client CAs: .*`, `✓ caller policy: \S+/policy has entries: 2`}},
		"a wrong policy": {guard(good, goodKey, write(t, "policy", "callers: [{subject: a}, null]")),
			[]string{`✗ configuration: --caller-policy-file \(\S+\): \S+/policy: callers\[0\] .*there are no organizations; .*callers\[1\].* it is empty; delete it`,
				`✓ certificate: .*`, `✓ client CAs: .*`, `- caller policy: not tried, because --caller-policy-file is wrong`}},
	} {
		t.Run(name, func(t *testing.T) {
			config := newConfig(t, url)
			c.change(&config)
			verify(t, config, nilUUID, append(c.want, rest...))
		})
	}
}

// guard returns a change that lets in callers with certificates, by a policy.
func guard(certificate, key, policy string) func(*server.Config) {
	return func(c *server.Config) {
		c.CallerAuth, c.CallerPolicyFile = []string{server.CallerMTLS}, policy
		c.TLSCertFile, c.TLSKeyFile, c.TLSClientCAFile = certificate, key, certificate
	}
}

func TestTLSIsVerified(t *testing.T) {
	now, nowKey := certify(t, -time.Hour, 49*time.Hour)
	old, oldKey := certify(t, -2*time.Hour, -time.Hour)
	const (
		handshake = `✓ upstream TLS: TLS 1.3, certificate verified, issued by CN=test.*, valid for 2 days, until \d{4}-\d\d-\d\d`
		unknown   = `✗ upstream TLS: .*unknown authority \(issued by CN=test \[31m\); if that CA is to be trusted, give its certificate with --upstream-ca-file`
		expired   = `✗ upstream TLS: .*expired.*; check this machine's clock; if it is right, the certificate's owner must renew it`
		another   = `✗ upstream TLS: .*localhost.*; check the host in --upstream-url`
		notTLS    = `✗ upstream TLS: tls: first record does not look like a TLS handshake; check scheme and port in --upstream-url`
	)
	unconnected := []string{`- token: not tried, because there is no connection to the upstream`, `- lookup: not tried, because there is no connection to the upstream`}
	for name, c := range map[string]struct {
		url, ca string
		want    []string
	}{
		"a CA that is given":    {listenTLS(t, now, nowKey), now, []string{`✓ upstream CAs: .*`, dns, tcp, handshake, issued, denied}},
		"a CA that is not":      {listenTLS(t, now, nowKey), "", append([]string{dns, tcp, unknown}, unconnected...)},
		"one that expired":      {listenTLS(t, old, oldKey), old, append([]string{`✗ upstream CAs: .*`, dns, tcp, expired}, unconnected...)},
		"another name":          {strings.Replace(listenTLS(t, now, nowKey), "127.0.0.1", "localhost", 1), now, append([]string{`✓ upstream CAs: .*`, `✓ upstream DNS: localhost has .*127.0.0.1.*`, tcp, another}, unconnected...)},
		"no TLS where it is to": {strings.Replace(listen(t, newSandbox(t)), "http", "https", 1), "", append([]string{dns, tcp, notTLS}, unconnected...)},
	} {
		t.Run(name, func(t *testing.T) {
			config := newConfig(t, c.url)
			config.UpstreamCAFile = c.ca
			verify(t, config, nilUUID, append([]string{configured}, c.want...))
		})
	}
}

func listenTLS(t *testing.T, certificate, key string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(newSandbox(t))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestAHostThatCannotBeReached(t *testing.T) {
	const none = `not tried, because there is no connection to the upstream`
	for name, c := range map[string]struct {
		host string
		want []string
	}{
		"a closed port": {closedPort(t), []string{dns,
			`✗ upstream TCP: dial tcp 127\.0\.0\.1:\d+: connect: connection refused; check host and port in --upstream-url, firewalls, and whether a proxy is needed \(HTTPS_PROXY\)`,
			`- upstream TLS: not tried, because there is no connection`, `- token: ` + none, `- lookup: ` + none}},
		"an unknown name": {"podero..invalid", []string{
			`✗ upstream DNS: lookup podero\.\.invalid.*: no such host; check the host in --upstream-url, and this machine's DNS`,
			`- upstream TCP: not tried, because there is no address of it`, `- upstream TLS: not tried, because there is no address of it`,
			`- token: ` + none, `- lookup: ` + none}},
	} {
		t.Run(name, func(t *testing.T) {
			config := newConfig(t, "http://"+c.host)
			config.Insecure = true
			verify(t, config, nilUUID, append([]string{configured}, c.want...))
		})
	}
}

func TestATokenEndpointThatGivesNone(t *testing.T) {
	api := listen(t, newSandbox(t))
	for name, c := range map[string]struct {
		handler http.Handler
		secret  string
		want    string
	}{
		"a wrong secret": {newSandbox(t), "hunter2", `TOKEN_REJECTED \(HTTP status 401\): the client credentials are wrong; check --client-id and the client secret`},
		"a wrong URL":    {answers(404, "text/html", "<html>"), "", `TOKEN_REJECTED \(HTTP status 404\): there is no token in the response; check --token-url, down to the slash at its end`},
		"a wrong scope":  {answers(400, "application/json", `{"error":"invalid_scope"}`), "", `TOKEN_REJECTED \(HTTP status 400\): invalid_scope; check --scope`},
		"a failure":      {answers(503, "text/html", "hunter2"), "", `TOKEN_UNAVAILABLE \(HTTP status 503\); try again later; if it lasts, ask Podero`},
		"another kind": {answers(200, "application/json", `{"access_token":"hunter2","token_type":"mac","expires_in":1}`), "",
			`TOKEN_REJECTED \(HTTP status 200\): the token is not of type Bearer; check --token-url, --client-id, the client secret and --scope`},
		"no answer": {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "",
			`TOKEN_UNAVAILABLE: reach the token endpoint: EOF; check --token-url and what is on the way there; --upstream-attempt-timeout bounds it`},
	} {
		t.Run(name, func(t *testing.T) {
			config := newConfig(t, api)
			config.TokenURL = listen(t, c.handler) + sandbox.TokenPath
			if c.secret != "" {
				config.ClientSecret = secret.New(c.secret)
			}
			verify(t, config, nilUUID, []string{configured, dns, tcp, plain, dns2, tcp2, plain2, `✗ token: ` + c.want, unasked})
		})
	}
}

func TestAnUpstreamThatAnswersAnythingElse(t *testing.T) {
	tokens := newSandbox(t)
	for name, c := range map[string]struct {
		api  http.Handler
		want string
	}{
		"a wrong base URL": {answers(404, "text/html", "<html>"),
			`✗ lookup: UPSTREAM_UNEXPECTED_STATUS \(HTTP status 404\): content type "text/html"; check --upstream-url: this is not how the base URL of Podero's Partner API answers`},
		"a page":        {answers(200, "text/html", "<html>"), `✗ lookup: UPSTREAM_CONTRACT_VIOLATION.*; check --upstream-url: .*`},
		"no rights":     {answers(401, "application/json", `{"detail":"Unauthorized"}`), `✗ lookup: UPSTREAM_UNAUTHENTICATED \(HTTP status 401\); check that --token-url and --upstream-url .*`},
		"another rule":  {answers(422, "application/json", `{"detail":[]}`), `✗ lookup: UPSTREAM_REJECTED_REQUEST \(HTTP status 422\); check --org-id, and --upstream-url`},
		"a rate limit":  {answers(429, "application/json", `{"detail":"slow"}`), `✗ lookup: UPSTREAM_RATE_LIMITED \(HTTP status 429\); try again in 1s`},
		"a failure":     {answers(500, "text/html", "hunter2"), `✗ lookup: UPSTREAM_UNAVAILABLE \(HTTP status 500\); try again; if it lasts, check --upstream-url .*`},
		"too long":      {http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), `✗ lookup: UPSTREAM_TIMEOUT: .*; try again; if it lasts, give more --upstream-attempt-timeout, or ask Podero`},
		"JSON with 404": {answers(404, "application/json", `{"detail":"Not Found"}`), `✓ lookup: 404 with JSON: the base URL is right, .*`},
	} {
		t.Run(name, func(t *testing.T) {
			mux := http.NewServeMux()
			mux.Handle(sandbox.TokenPath, tokens)
			mux.Handle("/", c.api)
			config := newConfig(t, listen(t, mux))
			if name == "too long" {
				config.UpstreamAttemptTimeout = 2 * time.Second // enough for a token
			}
			verify(t, config, nilUUID, []string{configured, dns, tcp, plain, issued, c.want})
		})
	}
}

func TestKeysOfCallersTokensAreFetched(t *testing.T) {
	api := listen(t, newSandbox(t))
	const key = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	for name, c := range map[string]struct {
		jwks http.Handler
		want string
	}{
		"keys":          {answers(200, "application/json", `{"keys":[`+key+`,{"kty":"x"}]}`), `✓ caller keys: usable: 1, ignored: 1`},
		"no keys":       {answers(200, "application/json", `{"keys":[]}`), `✗ caller keys: the issuer has no usable key; check --jwt-jwks-url and --jwt-issuer`},
		"not a key set": {answers(200, "application/json", `{}`), `✗ caller keys: GET http://127\S+: the answer is not a JWK set; check --jwt-jwks-url`},
		"a wrong URL":   {answers(404, "text/html", ""), `✗ caller keys: GET http://127\S+: HTTP status 404; check --jwt-jwks-url and --jwt-issuer`},
		"no answer": {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
			`✗ caller keys: GET http://127\S+: EOF; check --jwt-jwks-url, --jwt-issuer and what is on the way there`},
	} {
		t.Run(name, func(t *testing.T) {
			config := newConfig(t, api)
			config.CallerAuth = []string{server.CallerJWT}
			config.JWTIssuer, config.JWTAudience, config.JWTJWKSURL = "https://issuer.invalid", "a", listen(t, c.jwks)
			verify(t, config, nilUUID, []string{configured, dns, tcp, plain, issued, denied, c.want})
		})
	}
	t.Run("a discovery document", func(t *testing.T) {
		config := newConfig(t, api)
		config.CallerAuth, config.JWTAudience = []string{server.CallerJWT}, "a"
		config.JWTIssuer = listen(t, answers(200, "application/json", `{"issuer":"another"}`))
		verify(t, config, nilUUID, []string{configured, dns, tcp, plain, issued, denied,
			`✗ caller keys: GET \S+/.well-known/openid-configuration: the document is another issuer's; check --jwt-issuer, down to the slash at its end`})
	})
	t.Run("no issuer", func(t *testing.T) {
		config := newConfig(t, api)
		config.CallerAuth, config.JWTAudience = []string{server.CallerJWT}, "a"
		verify(t, config, nilUUID, []string{`✗ configuration: --jwt-issuer .*`, dns, tcp, plain, issued, denied,
			`- caller keys: not tried, because --jwt-issuer is wrong`})
	})
}

func TestSecretsStayOutOfWhatIsSeen(t *testing.T) {
	tokens := make(chan string, 1)
	sandboxed := newSandbox(t)
	config := newConfig(t, listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if value, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
			tokens <- value
		}
		sandboxed.ServeHTTP(w, r)
	})))
	var text strings.Builder
	check.Run(t.Context(), config, nil, nilUUID, func(step check.Step) { text.WriteString(step.String() + "\n") })
	secrets := []string{<-tokens, url.UserPassword(sandbox.ClientID, sandbox.ClientSecret).String()}
	for _, value := range secrets {
		if strings.Contains(text.String(), value) {
			t.Errorf("%s\nhas %s in it", text.String(), value)
		}
	}
}

func TestWarningsAreNoFailures(t *testing.T) {
	config := newConfig(t, listen(t, newSandbox(t)))
	config.Insecure = true
	config.TokenURL = strings.Replace(config.TokenURL, "127.0.0.1", "localhost", 1)
	var warnings []string
	failed := check.Run(t.Context(), config, nil, nilUUID, func(step check.Step) {
		if step.Warning {
			warnings = append(warnings, step.String())
		}
	})
	want := []string{
		"! configuration: --insecure (PODERO_FACADE_INSECURE): lookups may be open to anybody, and secrets may be sent in the clear; leave it out where there is people's data",
		"! configuration: --token-url (PODERO_FACADE_TOKEN_URL): its host is not the one of --upstream-url; " +
			"see that both are of the same environment, as sandbox and production have credentials of their own",
	}
	if failed > 0 || !slices.Equal(warnings, want) {
		t.Errorf("%d failed, warnings %q, want %q", failed, warnings, want)
	}
}
