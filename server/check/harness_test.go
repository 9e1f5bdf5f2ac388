package check_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"go.uber.org/goleak"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/check"
	"example.com/podero-facade/server/sandbox"
	"example.com/podero-facade/server/secret"
)

const nilUUID = "00000000-0000-0000-0000-000000000000"

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http's remarks on handshakes that fail
	goleak.VerifyTestMain(m)
}

func newSandbox(t *testing.T) http.Handler {
	t.Helper()
	handler, err := sandbox.New(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// listen serves a handler over HTTP and returns its URL.
func listen(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// answers is a handler that gives the same answer to everything.
func answers(status int, contentType, text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	})
}

// newConfig returns a configuration that is right for a sandbox at a URL.
func newConfig(t *testing.T, url string) server.Config {
	t.Helper()
	var config server.Config
	if err := kong.ApplyDefaults(&config); err != nil {
		t.Fatal(err)
	}
	config.UpstreamURL, config.TokenURL = url+sandbox.APIPath, url+sandbox.TokenPath
	config.ClientID, config.ClientSecret = sandbox.ClientID, secret.New(sandbox.ClientSecret)
	return config
}

// verify runs the check and compares its lines with regular expressions. Warnings are left out.
func verify(t *testing.T, config server.Config, orgID string, want []string) {
	t.Helper()
	var lines []string
	failed := check.Run(t.Context(), config, nil, orgID, func(step check.Step) {
		if !step.Warning {
			lines = append(lines, step.String())
		}
	})
	text := strings.Join(lines, "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), text)
	}
	bad := 0
	for i, line := range lines {
		if !regexp.MustCompile("^" + want[i] + "$").MatchString(line) {
			t.Errorf("%s\nis not\n%s", line, want[i])
		}
		if strings.HasPrefix(want[i], "✗") {
			bad++
		}
	}
	if failed != bad {
		t.Errorf("%d failed, want %d:\n%s", failed, bad, text)
	}
}

// closedPort returns an address that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return listener.Addr().String()
}

// write writes a file of the test's and returns its name.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certify writes a self-signed certificate that ends after some time, and its key.
func certify(t *testing.T, from, until time.Duration) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test\x1b[31m"},
		NotBefore:    time.Now().Add(from),
		NotAfter:     time.Now().Add(until),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "cert.pem", toPEM("CERTIFICATE", der)), write(t, "key.pem", toPEM("PRIVATE KEY", pkcs8))
}

func toPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
