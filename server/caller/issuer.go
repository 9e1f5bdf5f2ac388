package caller

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/httpbody"
)

const (
	exchangeTimeout = 5 * time.Second // of one HTTP exchange
	maxDocument     = 1 << 20         // bytes
	minModulus      = 2048            // bits of an RSA key (RFC 7518, section 3.3)
)

// issuer is the service that signs tokens, as far as it publishes its keys.
type issuer struct {
	name      string            // what its tokens have as iss
	jwksURL   string            // "" to ask its discovery document
	transport http.RoundTripper // as that, it follows no redirect: who can redirect could name the keys
	userAgent string
}

func newIssuer(config TokenConfig) *issuer {
	return &issuer{
		name:      config.Issuer,
		jwksURL:   config.JWKSURL,
		transport: config.Transport,
		userAgent: config.UserAgent,
	}
}

// fetch returns the issuer's keys for signatures, and how many other ones it ignored. A key set without any is
// the issuer's word, too: none of its former keys is good any more.
func (i *issuer) fetch(ctx context.Context) (keys []jose.JSONWebKey, ignored int, err error) {
	location := i.jwksURL
	if location == "" {
		if location, err = i.discover(ctx); err != nil {
			return nil, 0, err
		}
	}
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := i.get(ctx, location, &set); err != nil {
		return nil, 0, err
	}
	if set.Keys == nil {
		return nil, 0, fmt.Errorf("GET %s: the answer is not a JWK set; check --jwt-jwks-url", location)
	}
	for _, value := range set.Keys {
		// RFC 7517, section 5: keys that are not understood are to be ignored.
		var key jose.JSONWebKey
		if key.UnmarshalJSON(value) != nil || !isUsable(key) || !mayVerify(value) {
			ignored++
			continue
		}
		keys = append(keys, key)
	}
	return keys, ignored, nil
}

// discover returns where the issuer's discovery document says that its keys are (OpenID Connect Discovery
// 1.0, sections 3 and 4).
func (i *issuer) discover(ctx context.Context) (string, error) {
	location := strings.TrimRight(i.name, "/") + "/.well-known/openid-configuration"
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := i.get(ctx, location, &document); err != nil {
		return "", err
	}
	if document.Issuer != i.name {
		return "", fmt.Errorf("GET %s: the document is another issuer's; check --jwt-issuer, down to the slash at its end", location)
	}
	jwks, err := url.Parse(document.JWKSURI)
	if err != nil || jwks.Host == "" || jwks.User != nil {
		return "", fmt.Errorf("GET %s: the document has no usable jwks_uri; give --jwt-jwks-url", location)
	}
	// Plain HTTP is as good as what named it, and no better.
	if jwks.Scheme != "https" && (jwks.Scheme != "http" || !strings.HasPrefix(location, "http://")) {
		return "", fmt.Errorf("GET %s: the document's jwks_uri is not https; give --jwt-jwks-url", location)
	}
	return document.JWKSURI, nil
}

// get decodes the JSON document at a location.
func (i *issuer) get(ctx context.Context, location string, document any) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return errors.New("the location of the keys is not a URL; check --jwt-jwks-url and --jwt-issuer")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", i.userAgent)
	response, err := i.transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("GET %s: %w", location, fault.Network(err))
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode/100 == 3 {
		return fmt.Errorf("GET %s: HTTP status %d, a redirect, which is not followed; check --jwt-jwks-url and --jwt-issuer", location, response.StatusCode)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: HTTP status %d; check --jwt-jwks-url and --jwt-issuer", location, response.StatusCode)
	}
	body, err := httpbody.Read(response, maxDocument)
	switch {
	case errors.Is(err, httpbody.ErrTooLarge), errors.Is(err, httpbody.ErrEncoding):
		return fmt.Errorf("GET %s: %w; the limit is %d bytes", location, err, maxDocument)
	case err != nil:
		return fmt.Errorf("GET %s: %w", location, fault.Network(err))
	case json.Unmarshal(body, document) != nil:
		return fmt.Errorf("GET %s: the answer is not the JSON that it should be; check --jwt-jwks-url and --jwt-issuer", location)
	default:
		return nil
	}
}

// isUsable reports whether a key is a public one for signatures of the accepted algorithms.
func isUsable(key jose.JSONWebKey) bool {
	if key.Use != "" && key.Use != "sig" {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= minModulus
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	default:
		return false
	}
}

// mayVerify reports whether a JWK's key_ops, if it has any, contains verify (RFC 7517, section 4.3).
func mayVerify(jwk jsontext.Value) bool {
	var key struct {
		Operations []string `json:"key_ops"`
	}
	return json.Unmarshal(jwk, &key) == nil && (key.Operations == nil || slices.Contains(key.Operations, "verify"))
}
