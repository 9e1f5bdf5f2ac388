package caller_test

import (
	"crypto/elliptic"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/podero-facade/server/caller"
)

// served runs a TokenVerifier whose issuer is an HTTP server on loopback, and returns it, the issuer's name
// and the log. configure may be nil.
func served(
	t *testing.T, handler http.HandlerFunc, configure func(c *caller.TokenConfig),
) (*caller.TokenVerifier, string, *logText) {
	server := httptest.NewServer(handler)
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	l := &logText{}
	config := tokenConfig(transport)
	config.Log, config.UserAgent = l.logger(), "podero-facade/test"
	config.Issuer, config.JWKSURL = server.URL, server.URL+"/jwks"
	if configure != nil {
		configure(&config)
	}
	return run(t, config), config.Issuer, l
}

// logged waits until a text is in the log.
func logged(t *testing.T, l *logText, text string) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for !strings.Contains(l.String(), text) {
		select {
		case <-limit:
			t.Fatalf("%q is not in the log:\n%s", text, l)
		case <-time.After(time.Millisecond):
		}
	}
}

func tokenOf(issuer string) string {
	return keys().ed.sign("EdDSA", nil, with(goodClaims(), object{"iss": issuer}))
}

func TestKeysAreFetchedOverHTTP(t *testing.T) {
	verifier, issuer, l := served(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/jwks" || r.UserAgent() != "podero-facade/test" || r.Header.Get("Accept") != "application/jwk-set+json, application/json" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, allKeys())
	}, nil)
	logged(t, l, "usable=5")
	if got, _, err := verifier.Verify(t.Context(), tokenOf(issuer)); err != nil || got != subject {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAnswersThatAreNoKeySetGiveNoKeys(t *testing.T) {
	answer := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string // in the log
	}{
		"HTML":         {answer("<!doctype html><title>Sign in</title>"), "is not the JSON that it should be"},
		"garbage":      {answer("\x00\xff\xfe"), "is not the JSON that it should be"},
		"empty":        {answer(""), "is not the JSON that it should be"},
		"array":        {answer("[]"), "is not the JSON that it should be"},
		"no keys":      {answer("{}"), "is not a JWK set"},
		"null":         {answer("null"), "is not a JWK set"},
		"keys no list": {answer(`{"keys":{}}`), "is not the JSON that it should be"},
		"keys twice":   {answer(`{"keys":[],"keys":` + allKeys()[len(`{"keys":`):]), "is not the JSON that it should be"},
		"huge":         {answer(`{"pad":"` + strings.Repeat("x", 1<<20) + `",` + allKeys()[1:]), "the body is too large; the limit is 1048576 bytes"},
		"cut short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10000")
			_, _ = io.WriteString(w, allKeys()[:100])
		}, "unexpected EOF"},
		"not found": {http.NotFound, "HTTP status 404"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				_, _ = io.WriteString(w, allKeys())
				return
			}
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}, "HTTP status 302, a redirect"},
		"redirect without a Location": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) }, "HTTP status 302, a redirect"},
		"redirect with a bad Location": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://%zz")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, "HTTP status 307, a redirect"},
		"error": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, allKeys())
		}, "HTTP status 500"},
	} {
		t.Run(name, func(t *testing.T) {
			verifier, issuer, l := served(t, c.handler, nil)
			logged(t, l, c.want)
			_, _, err := verifier.Verify(t.Context(), tokenOf(issuer))
			refused(t, err, "could not be fetched yet")
		})
	}
}

func TestASlowIssuerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(allKeys())
		s.delay = time.Hour
		var l logText
		config := tokenConfig(s)
		config.Log = l.logger()
		run(t, config)
		time.Sleep(5*time.Second + time.Millisecond)
		if !strings.Contains(l.String(), "context deadline exceeded") {
			t.Errorf("the log is %q", l.String())
		}
	})
}

func TestALocationThatIsNoURLIsLogged(t *testing.T) {
	_, _, l := served(t, http.NotFound, func(c *caller.TokenConfig) { c.JWKSURL = "http://\x7f" })
	logged(t, l, "is not a URL")
}

func TestKeysThatAreNotForSignaturesAreIgnored(t *testing.T) {
	k := keys()
	short, other := newRSAKey("short", 1024), newECKey("other", elliptic.P224())
	private := object{"kty": "RSA", "kid": "rsa", "d": "AQAB", "n": k.rsa.jwk(nil)["n"], "e": "AQAB"}
	for name, c := range map[string]struct {
		key   object
		token string
	}{
		"for encryption":         {k.rsa.jwk(object{"use": "enc"}), goodToken()},
		"for another algorithm":  {k.rsa.jwk(object{"alg": "PS256"}), goodToken()},
		"for encryption, by alg": {k.rsa.jwk(object{"use": nil, "alg": "RSA-OAEP"}), goodToken()},
		"symmetric":              {object{"kty": "oct", "kid": "rsa", "k": encode(publicDER(k.rsa))}, hmacToken(publicDER(k.rsa))},
		"private":                {private, goodToken()},
		"of an unknown type":     {object{"kty": "X", "kid": "rsa"}, goodToken()},
		"not on its curve":       {k.ec384.jwk(object{"x": encode(make([]byte, 48))}), k.ec384.sign("ES384", nil, goodClaims())},
		"on an unknown curve":    {other.jwk(nil), other.sign("ES256", nil, goodClaims())},
		"too short":              {short.jwk(nil), short.sign("RS256", nil, goodClaims())},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				verifier := run(t, tokenConfig(newSite(jwks(c.key, k.ed.jwk(object{"use": nil, "alg": "EdDSA"})))))
				_, _, err := verifier.Verify(t.Context(), c.token)
				refused(t, err, "")
				if _, _, err := verifier.Verify(t.Context(), k.ed.sign("EdDSA", nil, goodClaims())); err != nil {
					t.Errorf("the good key beside it: %v", err)
				}
			})
		})
	}
}

func TestTheDiscoveryDocumentSaysWhereTheKeysAre(t *testing.T) {
	document := func(issuer, location string) string {
		return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"authorization_endpoint":"x"}`, issuer, location)
	}
	for name, c := range map[string]struct {
		issuer, document string
		want             string // in the log, "" if it serves
	}{
		"keys elsewhere":                 {issuer, document(issuer, jwksURL), ""},
		"issuer with a slash at its end": {issuer + "/", document(issuer+"/", jwksURL), ""},
		"another issuer":                 {issuer, document("https://attacker.example", jwksURL), "another issuer's"},
		"the slash differs":              {issuer, document(issuer+"/", jwksURL), "another issuer's"},
		"no issuer":                      {issuer, `{"jwks_uri":"` + jwksURL + `"}`, "another issuer's"},
		"no jwks_uri":                    {issuer, `{"issuer":"` + issuer + `"}`, "no usable jwks_uri"},
		"jwks_uri is a path":             {issuer, document(issuer, "/jwks"), "no usable jwks_uri"},
		"jwks_uri is no URL":             {issuer, document(issuer, "https://\x7f"), "is not the JSON that it should be"},
		"jwks_uri with a password":       {issuer, document(issuer, "https://a:b@keys.example/jwks"), "no usable jwks_uri"},
		"jwks_uri in the clear":          {issuer, document(issuer, "http://keys.example/jwks"), "is not https"},
		"jwks_uri is a file":             {issuer, document(issuer, "file://host/etc/passwd"), "is not https"},
		"HTML":                           {issuer, "<html>", "is not the JSON that it should be"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(allKeys())
				s.documents[discovery] = c.document
				s.documents["http://keys.example/jwks"] = allKeys()
				var l logText
				config := tokenConfig(s)
				config.Issuer, config.JWKSURL, config.Log = c.issuer, "", l.logger()
				_, _, err := run(t, config).Verify(t.Context(), tokenOf(c.issuer))
				if c.want == "" && err != nil {
					t.Errorf("%v\n%s", err, l.String())
				}
				if c.want != "" {
					refused(t, err, "could not be fetched yet")
					synctest.Wait() // for the log
					if !strings.Contains(l.String(), c.want) {
						t.Errorf("the log is %s", l.String())
					}
				}
			})
		})
	}
}

func TestAnIssuerInTheClearMayPublishInTheClear(t *testing.T) {
	verifier, issuer, l := served(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/openid-configuration" {
			_, _ = fmt.Fprintf(w, `{"issuer":"http://%s","jwks_uri":"http://%s/jwks"}`, r.Host, r.Host)
			return
		}
		_, _ = io.WriteString(w, allKeys())
	}, func(c *caller.TokenConfig) { c.JWKSURL = "" })
	logged(t, l, "usable=5")
	if _, _, err := verifier.Verify(t.Context(), tokenOf(issuer)); err != nil {
		t.Error(err)
	}
}
