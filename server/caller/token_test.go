package caller_test

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/hmac"
	_ "crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/podero-facade/server/caller"
	"example.com/podero-facade/server/fault"
)

// refused fails the test unless err refuses a call's credentials for the reason given, and quotes none of
// the other texts.
func refused(t *testing.T, err error, reason string, secrets ...string) {
	t.Helper()
	if !fault.Is(err, fault.CallerUnauthenticated) {
		t.Fatalf("got %v, want a refusal", err)
	}
	if !strings.Contains(err.Error(), reason) {
		t.Errorf("refused because %q, want %q", err, reason)
	}
	for _, secret := range secrets {
		if secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("%q quotes %q", err, secret)
		}
	}
}

func TestGoodTokensAreAccepted(t *testing.T) {
	k := keys()
	for name, token := range map[string]func() string{
		"RS256":  func() string { return k.rsa.sign("RS256", nil, goodClaims()) },
		"RS384":  func() string { return k.rsa.sign("RS384", nil, goodClaims()) },
		"RS512":  func() string { return k.rsa.sign("RS512", nil, goodClaims()) },
		"PS256":  func() string { return k.rsa.sign("PS256", nil, goodClaims()) },
		"PS384":  func() string { return k.rsa.sign("PS384", nil, goodClaims()) },
		"PS512":  func() string { return k.rsa.sign("PS512", nil, goodClaims()) },
		"ES256":  func() string { return k.ec256.sign("ES256", nil, goodClaims()) },
		"ES384":  func() string { return k.ec384.sign("ES384", nil, goodClaims()) },
		"ES512":  func() string { return k.ec521.sign("ES512", nil, goodClaims()) },
		"EdDSA":  func() string { return k.ed.sign("EdDSA", nil, goodClaims()) },
		"no kid": func() string { return k.ed.sign("EdDSA", object{"kid": nil}, goodClaims()) },
		"one audience of several": func() string {
			return k.rsa.sign("RS256", nil, with(goodClaims(), object{"aud": []string{"another", audience}}))
		},
		"claims that nobody asked for": func() string {
			return k.rsa.sign("RS256", nil, with(goodClaims(), object{"iat": "yesterday", "scope": []int{1}}))
		},
		"headers that say where a key is": func() string {
			return k.rsa.sign("RS256", object{"jku": "https://attacker.example/", "x5u": "https://attacker.example/"}, goodClaims())
		},
		"expired within the leeway":       func() string { return expiring(-29 * time.Second) },
		"not yet valid within the leeway": func() string { return beginning(29 * time.Second) },
		"a long life":                     func() string { return expiring(100 * 365 * 24 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got, _, err := run(t, tokenConfig(newSite(allKeys()))).Verify(t.Context(), token())
				if err != nil || got != subject {
					t.Errorf("got %q, %v", got, err)
				}
			})
		})
	}
}

// expiring is a token that expires in a time, and beginning one that is valid only then.
func expiring(in time.Duration) string {
	return keys().rsa.sign("RS256", nil, with(goodClaims(), object{"exp": time.Now().Add(in).Unix()}))
}

func beginning(in time.Duration) string {
	return keys().rsa.sign("RS256", nil, with(goodClaims(), object{"nbf": time.Now().Add(in).Unix()}))
}

// claiming is a token of the issuer's with other claims.
func claiming(others object) func() string {
	return func() string { return keys().rsa.sign("RS256", nil, with(goodClaims(), others)) }
}

func TestBadTokensAreRefused(t *testing.T) {
	const (
		malformed  = "not a JWT with a signature of an accepted algorithm"
		wrong      = "its signature is wrong"
		unknownKey = "the issuer has no key of its kid and alg"
	)
	k := keys()
	headed := func(header object) func() string {
		return func() string { return k.rsa.sign("RS256", header, goodClaims()) }
	}
	// attacking is a token of an attacker who knows the kid of the issuer's key.
	attacking := func(header object) func() string {
		return func() string { return k.attacker.sign("RS256", header, goodClaims()) }
	}
	for name, c := range map[string]struct {
		token func() string
		want  string
	}{
		"no JWT":                     {func() string { return "opaque" }, malformed},
		"two parts":                  {func() string { return strings.Join(strings.Split(goodToken(), ".")[:2], ".") }, malformed},
		"four parts":                 {func() string { return goodToken() + ".x" }, malformed},
		"no base64":                  {func() string { return "!!." + goodToken() }, malformed},
		"JSON serialization":         {func() string { return `{"payload":"e30","signatures":[{"protected":"e30","signature":""}]}` }, malformed},
		"header is no object":        {func() string { return encode([]byte(`[]`)) + ".e30.e30" }, malformed},
		"too long":                   {func() string { return claiming(object{"pad": strings.Repeat("x", 8<<10)})() }, "longer than 8192 bytes"},
		"unknown critical header":    {headed(object{"crit": []string{"exp"}, "exp": 1}), wrong},
		"no algorithm":               {headed(object{"alg": nil}), malformed},
		"alg none":                   {func() string { return unsigned("none") }, malformed},
		"alg None":                   {func() string { return unsigned("None") }, malformed},
		"alg RS256, no signature":    {func() string { return unsigned("RS256") }, wrong},
		"HMAC with the public key":   {func() string { return hmacToken(publicDER(k.rsa)) }, malformed},
		"HMAC with the public PEM":   {func() string { return hmacToken(publicPEM(k.rsa)) }, malformed},
		"HMAC with the JWK set":      {func() string { return hmacToken([]byte(allKeys())) }, malformed},
		"signed by another":          {attacking(nil), wrong},
		"signed by another, no kid":  {attacking(object{"kid": nil}), wrong},
		"kid of another key":         {headed(object{"kid": "ec384"}), wrong},
		"kid of a key with an alg":   {headed(object{"kid": "ec256"}), unknownKey},
		"kid unknown":                {headed(object{"kid": "unknown"}), unknownKey},
		"kid is a path":              {attacking(object{"kid": "../../../../dev/null"}), unknownKey},
		"kid is SQL":                 {attacking(object{"kid": "x' UNION SELECT 'key"}), unknownKey},
		"kid in another case":        {headed(object{"kid": "RSA"}), unknownKey},
		"kid is a number":            {headed(object{"kid": 1}), malformed},
		"jku of an attacker":         {attacking(object{"jku": "https://attacker.example/jwks"}), wrong},
		"x5u of an attacker":         {attacking(object{"x5u": "https://attacker.example/certificate"}), wrong},
		"jwk of an attacker":         {attacking(object{"jwk": k.attacker.jwk(nil)}), wrong},
		"jwk of an attacker, no kid": {attacking(object{"jwk": k.attacker.jwk(nil), "kid": nil}), wrong},
		"x5c of an attacker":         {attacking(object{"x5c": []string{selfSigned(t, k.attacker)}}), wrong},
		"RS256 by an EC key's kid":   {func() string { return k.attacker.sign("RS256", object{"kid": "ec521"}, goodClaims()) }, wrong},
		"ES256 by an RSA key's kid": {func() string {
			return newECKey("rsa", elliptic.P256()).sign("ES256", nil, goodClaims())
		}, wrong},
		"ES256 by a P-384 key's kid":   {func() string { return k.ec256.sign("ES256", object{"kid": "ec384"}, goodClaims()) }, wrong},
		"another algorithm of the key": {func() string { return retold(goodToken(), object{"alg": "RS512", "kid": "rsa"}) }, wrong},
		"claims changed":               {func() string { return forged(goodToken(), with(goodClaims(), object{"sub": "admin"})) }, wrong},
		"zero signature":               {func() string { return zeroed(k.ec384.sign("ES384", nil, goodClaims()), 96) }, wrong},

		"expired":                  {func() string { return expiring(-31 * time.Second) }, "expired"},
		"expired at the leeway":    {func() string { return expiring(-30 * time.Second) }, "expired"},
		"expired long ago":         {claiming(object{"exp": -1e18}), "expired"},
		"not yet valid":            {func() string { return beginning(31 * time.Second) }, "not valid yet"},
		"no exp":                   {claiming(object{"exp": nil}), "no exp"},
		"exp is text":              {claiming(object{"exp": "4000000000"}), "types of RFC 7519"},
		"exp is beyond all bounds": {claiming(object{"exp": 1e300}), "types of RFC 7519"},
		"no iss":                   {claiming(object{"iss": nil}), "iss"},
		"another iss":              {claiming(object{"iss": "https://attacker.example"}), "iss"},
		"iss with a slash":         {claiming(object{"iss": issuer + "/"}), "iss"},
		"no aud":                   {claiming(object{"aud": nil}), "aud"},
		"another aud":              {claiming(object{"aud": "another"}), "aud"},
		"aud in another case":      {claiming(object{"aud": strings.ToUpper(audience)}), "aud"},
		"aud is empty":             {claiming(object{"aud": []string{}}), "aud"},
		"aud is an object":         {claiming(object{"aud": object{"x": audience}}), "types of RFC 7519"},
		"no sub":                   {claiming(object{"sub": nil}), "sub"},
		"sub is empty":             {claiming(object{"sub": ""}), "sub"},
		"sub is a number":          {claiming(object{"sub": 1}), "types of RFC 7519"},
		"Sub for sub":              {claiming(object{"sub": nil, "Sub": subject}), "sub"},
		"claims are null":          {func() string { return k.rsa.sign("RS256", nil, nil) }, "iss"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := c.token()
				s := newSite(allKeys())
				begun := time.Now()
				got, _, err := run(t, tokenConfig(s)).Verify(t.Context(), token)
				refused(t, err, c.want, token, subject, issuer, "attacker", "another")
				if got != "" {
					t.Errorf("refused, and yet the subject is %q", got)
				}
				if waited := time.Since(begun); waited > time.Second {
					t.Errorf("refused after %v", waited)
				}
			})
		})
	}
}

// unsigned is a token without a signature.
func unsigned(alg string) string {
	return encodeJSON(object{"alg": alg, "kid": "rsa"}) + "." + encodeJSON(goodClaims()) + "."
}

// hmacToken is a token that is signed with a password that everybody knows.
func hmacToken(key []byte) string {
	input := encodeJSON(object{"alg": "HS256", "kid": "rsa"}) + "." + encodeJSON(goodClaims())
	mac := hmac.New(crypto.SHA256.New, key)
	mac.Write([]byte(input))
	return input + "." + encode(mac.Sum(nil))
}

func publicDER(k testKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		panic(err)
	}
	return der
}

func publicPEM(k testKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER(k)})
}

// retold is a token with another header, forged one with other claims, zeroed one with a signature of
// zeros.
func retold(token string, header object) string {
	parts := strings.Split(token, ".")
	return encodeJSON(header) + "." + parts[1] + "." + parts[2]
}

func forged(token string, claims object) string {
	parts := strings.Split(token, ".")
	return parts[0] + "." + encodeJSON(claims) + "." + parts[2]
}

func zeroed(token string, size int) string {
	parts := strings.Split(token, ".")
	return parts[0] + "." + parts[1] + "." + encode(make([]byte, size))
}

func TestAVerifierWithoutIssuerOrAudienceAcceptsNothing(t *testing.T) {
	for name, change := range map[string]func(*caller.TokenConfig){
		"issuer":   func(c *caller.TokenConfig) { c.Issuer = "" },
		"audience": func(c *caller.TokenConfig) { c.Audience = "" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := tokenConfig(newSite(allKeys()))
				change(&config)
				_, _, err := run(t, config).Verify(t.Context(), claiming(object{"iss": config.Issuer, "aud": config.Audience})())
				refused(t, err, "--jwt-"+name)
			})
		})
	}
}

func TestACallerWithoutTimeIsToldSo(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(context.Context) (context.Context, context.CancelFunc)
		want fault.Kind
	}{
		"cancelled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, fault.CallerCancelled},
		"deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 300*time.Millisecond)
		}, fault.UpstreamTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(allKeys())
				s.delay = 500 * time.Millisecond
				verifier := run(t, tokenConfig(s))
				ctx, cancel := c.end(t.Context())
				defer cancel()
				begun := time.Now()
				_, _, err := verifier.Verify(ctx, goodToken())
				if took := time.Since(begun); !fault.Is(err, c.want) || took >= 300*time.Millisecond {
					t.Errorf("got %v after %v", err, took)
				}
			})
		})
	}
}

func FuzzVerify(f *testing.F) {
	k := keys()
	// None of these is signed by the issuer, so nothing made of them is.
	attacker := testKey{"ed", newEdKey("ed").private}
	f.Add(k.attacker.sign("RS256", nil, goodClaims()))
	f.Add(k.attacker.sign("PS512", object{"jwk": k.attacker.jwk(nil)}, goodClaims()))
	f.Add(attacker.sign("EdDSA", nil, goodClaims()))
	f.Add(newECKey("ec384", elliptic.P384()).sign("ES384", object{"kid": nil}, goodClaims()))
	f.Add(newECKey("x", elliptic.P256()).sign("ES256", object{"crit": []string{"b64"}, "b64": false}, goodClaims()))
	f.Add(unsigned("none"))
	f.Add(hmacToken(publicPEM(k.rsa)))
	f.Add(`{"payload":"e30","signatures":[{"protected":"e30","signature":""}]}`)
	f.Add("..")
	verifier := run(f, tokenConfig(newSite(allKeys())))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, _, err := verifier.Verify(ctx, k.rsa.sign("RS256", nil, goodClaims())); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if got, _, err := verifier.Verify(t.Context(), token); err == nil || got != "" {
			t.Errorf("accepted as %q", got)
		}
	})
}
