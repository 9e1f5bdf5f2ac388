package caller_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/metadata"

	"example.com/podero-facade/server/caller"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http's remarks on clients that leave
	goleak.VerifyTestMain(m)
}

const (
	issuer    = "https://issuer.example"
	audience  = "podero-facade"
	subject   = "crm-sync"
	jwksURL   = "https://keys.example/jwks"
	discovery = issuer + "/.well-known/openid-configuration"
)

// must returns value, and fails the test if getting it failed.
func must[T any](t testing.TB, value T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// testKey is a key of an issuer. Signing and publishing are written here from the RFCs, so that the
// library under test judges what it has not made.
type testKey struct {
	kid     string
	private crypto.Signer
}

func newRSAKey(kid string, bits int) testKey {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return testKey{kid, private}
}

func newECKey(kid string, curve elliptic.Curve) testKey {
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return testKey{kid, private}
}

func newEdKey(kid string) testKey {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return testKey{kid, private}
}

// The issuer's keys, and one that is none of them.
var keys = sync.OnceValue(func() (k struct{ rsa, ec256, ec384, ec521, ed, attacker testKey }) {
	k.rsa, k.attacker = newRSAKey("rsa", 2048), newRSAKey("rsa", 2048)
	k.ec256, k.ec384, k.ec521 = newECKey("ec256", elliptic.P256()), newECKey("ec384", elliptic.P384()), newECKey("ec521", elliptic.P521())
	k.ed = newEdKey("ed")
	return k
})

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func encodeJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return encode(text)
}

type object = map[string]any

// jwk returns the public key as a JWK (RFC 7517; RFC 7518, section 6; RFC 8037), with other members.
func (k testKey) jwk(others object) object {
	key := object{"kid": k.kid, "use": "sig"}
	switch public := k.private.Public().(type) {
	case *rsa.PublicKey:
		key["kty"], key["n"], key["e"] = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		half := len(point) / 2
		key["kty"], key["crv"] = "EC", public.Params().Name
		key["x"], key["y"] = encode(point[1:1+half]), encode(point[1+half:])
	case ed25519.PublicKey:
		key["kty"], key["crv"], key["x"] = "OKP", "Ed25519", encode(public)
	}
	return with(key, others)
}

// with returns a copy of an object with other members. A nil leaves a member out.
func with(o, others object) object {
	result := maps.Clone(o)
	maps.Copy(result, others)
	maps.DeleteFunc(result, func(_ string, value any) bool { return value == nil })
	return result
}

func jwks(keys ...object) string {
	if keys == nil {
		keys = []object{}
	}
	text, err := json.Marshal(object{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// allKeys is the key set of the issuer.
func allKeys() string {
	k := keys()
	return jwks(k.rsa.jwk(nil), k.ec256.jwk(object{"alg": "ES256"}), k.ec384.jwk(nil), k.ec521.jwk(nil), k.ed.jwk(nil))
}

// sign returns a JWT.
func (k testKey) sign(alg string, header, claims object) string {
	input := encodeJSON(with(object{"alg": alg, "kid": k.kid, "typ": "JWT"}, header)) + "." + encodeJSON(claims)
	return input + "." + encode(k.signature(alg, []byte(input)))
}

func (k testKey) signature(alg string, input []byte) []byte {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	var options crypto.SignerOpts = hash
	if alg == "EdDSA" {
		options = crypto.Hash(0)
	}
	if strings.HasPrefix(alg, "PS") {
		options = &rsa.PSSOptions{Hash: hash, SaltLength: rsa.PSSSaltLengthEqualsHash}
	}
	if hash != 0 {
		h := hash.New()
		h.Write(input)
		input = h.Sum(nil)
	}
	if private, ok := k.private.(*ecdsa.PrivateKey); ok {
		return ecSignature(private, input)
	}
	signature, err := k.private.Sign(rand.Reader, input, options)
	if err != nil {
		panic(err)
	}
	return signature
}

// ecSignature is RFC 7518, section 3.4: the two numbers, each as long as the curve's order.
func ecSignature(private *ecdsa.PrivateKey, digest []byte) []byte {
	r, s, err := ecdsa.Sign(rand.Reader, private, digest)
	if err != nil {
		panic(err)
	}
	size := (private.Params().BitSize + 7) / 8
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
}

// goodClaims are those of a token that is valid now.
func goodClaims() object {
	return object{"iss": issuer, "aud": audience, "sub": subject, "exp": time.Now().Add(5 * time.Minute).Unix()}
}

// goodToken is a token that the issuer signed.
func goodToken() string { return keys().rsa.sign("RS256", nil, goodClaims()) }

// site is the issuer's web site, without a network.
type site struct {
	mu        sync.Mutex
	documents map[string]string
	delay     time.Duration // of an answer
	down      bool
	asked     []time.Time
}

// newSite returns a site with a key set at jwksURL.
func newSite(keySet string) *site { return &site{documents: map[string]string{jwksURL: keySet}} }

func (s *site) set(change func(s *site)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// requests returns how often the site was asked.
func (s *site) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked = append(s.asked, time.Now())
	document, ok := s.documents[r.URL.String()]
	delay, down := s.delay, s.down
	s.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if down {
		return nil, errors.New("connection refused")
	}
	status := http.StatusOK
	if !ok {
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(document)), Request: r}, nil
}

// tokenConfig is that of a TokenVerifier that asks a transport.
func tokenConfig(transport http.RoundTripper) caller.TokenConfig {
	return caller.TokenConfig{
		Issuer:    issuer,
		Audience:  audience,
		JWKSURL:   jwksURL,
		Transport: transport,
		Log:       slog.New(slog.DiscardHandler),
	}
}

// run runs a TokenVerifier until the test ends.
func run(t testing.TB, config caller.TokenConfig) *caller.TokenVerifier {
	verifier := caller.NewTokenVerifier(config)
	runInBackground(t, verifier.Run)
	return verifier
}

// runInBackground runs until the test ends, and waits for that.
func runInBackground(t testing.TB, run func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// authorized returns the context of a call with authorization values.
func authorized(ctx context.Context, values ...string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.MD{"authorization": values})
}

// logText is a log and what was written to it.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logText) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }
