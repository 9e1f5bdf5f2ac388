package caller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"example.com/podero-facade/server/fault"
)

const (
	maxID    = 256              // characters of a jti
	maxToken = 8 << 10          // bytes; the largest that issuers make are half of that
	leeway   = 30 * time.Second // by how much the issuer's clock may be off
)

// algorithms are what a token may be signed with (RFC 7518, section 3.1; RFC 8037): signatures alone, so
// that no token is ever checked with a public key as a password, and never none.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512,
	jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512,
	jose.EdDSA,
}

// TokenVerifier verifies JWTs (RFC 7519) of one issuer, with the keys that it publishes. Run fetches these
// in the background.
type TokenVerifier struct {
	issuer, audience string
	keys             *keySet
}

// TokenConfig is what a TokenVerifier needs.
type TokenConfig struct {
	Issuer    string // what iss must be, exactly
	Audience  string // what aud must be or contain, exactly
	JWKSURL   string // where the issuer publishes its keys; "" for where its discovery document says
	Transport http.RoundTripper
	UserAgent string
	Log       *slog.Logger
}

// NewTokenVerifier returns a TokenVerifier without keys. It gets them while Run runs.
func NewTokenVerifier(config TokenConfig) *TokenVerifier {
	return &TokenVerifier{
		issuer:   config.Issuer,
		audience: config.Audience,
		keys:     newKeySet(newIssuer(config), config.Log),
	}
}

// Run fetches the issuer's keys at once, and anew every few minutes, until ctx ends. Failures are logged;
// they are harmless while there are keys.
func (v *TokenVerifier) Run(ctx context.Context) { v.keys.run(ctx) }

// KeysAge returns how long ago the issuer's keys were fetched, and 0 if they never were.
func (v *TokenVerifier) KeysAge() time.Duration { return v.keys.age() }

// Verify returns the subject and the jti of a token that the issuer signed for the audience and that is valid now. If
// no known key verifies the token, Verify waits for new keys for a second at most. Its errors are
// *fault.Error: CALLER_UNAUTHENTICATED, with a cause that quotes nothing of the token, or what ended ctx.
func (v *TokenVerifier) Verify(ctx context.Context, token string) (subject, jti string, err error) {
	claims, err := v.verify(ctx, token)
	if err == nil {
		err = v.check(claims, time.Now())
	}
	if err == nil {
		return claims.Subject, claims.id(), nil
	}
	if ended, ok := errors.AsType[*fault.Error](err); ok {
		return "", "", ended
	}
	return "", "", Rejected(fault.BearerToken, fmt.Errorf("bearer token: %w", err))
}

// claims are the registered claims that decide about a token (RFC 7519, section 4.1).
type claims struct {
	Issuer    string           `json:"iss"`
	Subject   string           `json:"sub"`
	Audience  jwt.Audience     `json:"aud"`
	Expiry    *jwt.NumericDate `json:"exp"`
	NotBefore *jwt.NumericDate `json:"nbf"`
	ID        any              `json:"jti"` // which need not be text: it only goes into the audit log
}

// id returns the jti if it can stand in the audit log, and "" otherwise.
func (c *claims) id() string {
	id, ok := c.ID.(string)
	if !ok || len(id) > maxID || !isVisible(id) {
		return ""
	}
	return id
}

// verify returns the claims of a token that one of the issuer's keys signed. A key is chosen by the
// token's kid, never taken from the token (jwk, x5c) or from where the token says (jku, x5u). None of the
// library's errors is passed on: they quote the token.
func (v *TokenVerifier) verify(ctx context.Context, token string) (claims, error) {
	if len(token) > maxToken {
		return claims{}, fmt.Errorf("it is longer than %d bytes", maxToken)
	}
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return claims{}, errors.New("it is not a JWT with a signature of an accepted algorithm")
	}
	payload, err := v.keys.verify(ctx, signed)
	if err != nil {
		return claims{}, err
	}
	var c claims
	if json.Unmarshal(payload, &c) != nil {
		return claims{}, errors.New("its claims are not of the types of RFC 7519")
	}
	return c, nil
}

// check returns what is wrong with the claims of a token at a time.
func (v *TokenVerifier) check(c claims, now time.Time) error {
	switch {
	case c.Issuer == "" || c.Issuer != v.issuer:
		return errors.New("its iss is not --jwt-issuer")
	case v.audience == "" || !c.Audience.Contains(v.audience):
		return errors.New("its aud is not --jwt-audience")
	case c.Subject == "":
		return errors.New("it has no sub")
	case c.Expiry == nil:
		return errors.New("it has no exp")
	case !now.Before(c.Expiry.Time().Add(leeway)):
		return errors.New("it has expired")
	case c.NotBefore != nil && now.Add(leeway).Before(c.NotBefore.Time()):
		return errors.New("it is not valid yet")
	default:
		return nil
	}
}
