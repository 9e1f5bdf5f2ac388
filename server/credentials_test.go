package server_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// authority is a CA.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	der := a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, &a.key.PublicKey)
	var err error
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign returns a certificate from a template, valid now unless the template says otherwise.
func (a *authority) sign(t *testing.T, template *x509.Certificate, key crypto.PublicKey) []byte {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: "test"}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent := a.certificate
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// issue returns a certificate with its key.
func (a *authority) issue(t *testing.T, template *x509.Certificate) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	return &tls.Certificate{Certificate: [][]byte{a.sign(t, template, &key.PublicKey)}, PrivateKey: key}
}

// write writes the CA, or a certificate with its key, as PEM files, and returns their names.
func (a *authority) write(t *testing.T, dir string) string {
	t.Helper()
	return writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", a.certificate.Raw)
}

func writePair(t *testing.T, dir string, pair *tls.Certificate) (certificate, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", pair.Certificate[0]),
		writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", der)
}

func writePEM(t *testing.T, file, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func forServer() *x509.Certificate {
	return &x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

// forClient is a client certificate with URI SANs.
func forClient(names ...string) *x509.Certificate {
	template := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, name := range names {
		uri, err := url.Parse(name)
		if err != nil {
			panic(err)
		}
		template.URIs = append(template.URIs, uri)
	}
	return template
}

// issuer signs tokens and publishes its keys.
type issuer struct {
	server *httptest.Server

	mu   sync.Mutex
	keys map[string]*ecdsa.PrivateKey // that are published, by kid
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{keys: map[string]*ecdsa.PrivateKey{"one": newKey(t)}}
	i.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		var keys []map[string]string
		for kid, key := range i.keys {
			point, err := key.PublicKey.Bytes()
			if err != nil {
				panic(err)
			}
			keys = append(keys, map[string]string{"kty": "EC", "crv": "P-256", "kid": kid,
				"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:])})
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
	}))
	t.Cleanup(i.server.Close)
	return i
}

// rotate replaces the published keys.
func (i *issuer) rotate(keys map[string]*ecdsa.PrivateKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// claims are those of a good token.
func (i *issuer) claims() map[string]any {
	return map[string]any{"iss": i.server.URL, "aud": "podero-facade", "sub": "crm-sync", "jti": "token-7", "exp": time.Now().Add(time.Hour).Unix()}
}

// sign returns a token with ES256, the claims changed as given.
func (i *issuer) sign(t *testing.T, key *ecdsa.PrivateKey, header, changes map[string]any) string {
	t.Helper()
	claims := i.claims()
	for name, value := range changes {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	head := map[string]any{"alg": "ES256", "kid": "one", "typ": "JWT"}
	for name, value := range header {
		head[name] = value
		if value == nil {
			delete(head, name)
		}
	}
	text := encode(t, head) + "." + encode(t, claims)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func encode(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// hmacToken is a token signed with HS256, the key being what everybody knows.
func hmacToken(t *testing.T, key []byte, claims map[string]any) string {
	t.Helper()
	text := encode(t, map[string]any{"alg": "HS256", "kid": "one"}) + "." + encode(t, claims)
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
