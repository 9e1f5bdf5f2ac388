//go:build chaos

package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/podero-facade/server"
)

// backend is the address of Podero and its token endpoint.
type backend struct {
	scheme  string
	address string
	caFile  string // empty without TLS
}

// at returns the same backend at the address of a proxy, or under a name.
func (b backend) at(address string) backend {
	b.address = address
	return b
}

func (b backend) tokenURL() string { return b.scheme + "://" + b.address + "/oauth2/token/" }

// start starts the service in front of the backend with the default configuration. change, if not
// nil, alters it.
func (b backend) start(t *testing.T, change func(*server.Config)) *service {
	t.Helper()
	u := &upstream{server: &httptest.Server{URL: b.scheme + "://" + b.address}}
	return start(t, u, func(c *server.Config) {
		asInProduction(c)
		c.UpstreamCAFile = b.caFile
		if change != nil {
			change(c)
		}
	})
}

// newBackend serves a handler with net/http. With TLS it offers HTTP/2 and HTTP/1.1.
func newBackend(t *testing.T, handler http.Handler, secure bool) backend {
	t.Helper()
	web := httptest.NewUnstartedServer(handler)
	t.Cleanup(web.Close)
	b := backend{scheme: "http", address: web.Listener.Addr().String()}
	if !secure {
		web.Start()
		return b
	}
	ca := newAuthority(t)
	b.scheme, b.caFile = "https", ca.write(t, t.TempDir())
	web.EnableHTTP2 = true
	web.TLS = &tls.Config{Certificates: []tls.Certificate{*ca.issue(t, forLoopback())}, MinVersion: tls.VersionTLS12}
	web.StartTLS()
	return b
}

// newHandler returns a handler for Podero's API and a token endpoint whose tokens live ten hours.
func newHandler(api http.HandlerFunc) *upstream { return &upstream{api: api, token: grant} }

// forLoopback returns a template of a server certificate for the addresses and names of these
// tests.
func forLoopback() *x509.Certificate {
	template := forServer()
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.DNSNames = append(template.DNSNames, "*."+domain)
	return template
}

// newNginx starts nginx, which returns a constant document, on a plaintext and on a TLS port.
// protocols are its ssl_protocols; http2 is "http2" to offer HTTP/2, or empty.
func newNginx(t *testing.T, protocols, http2 string) (plaintext, secure backend) {
	t.Helper()
	dir := t.TempDir()
	ca := newAuthority(t)
	writePair(t, dir, ca.issue(t, forLoopback()))
	plaintext = backend{scheme: "http", address: freeAddress(t)}
	secure = backend{scheme: "https", address: freeAddress(t), caFile: ca.write(t, dir)}
	config := filepath.Join(dir, "nginx.conf")
	text := strings.NewReplacer("$dir", dir, "$plaintext", plaintext.address, "$secure", secure.address,
		"$protocols", protocols, "$http2", http2, "$document", document()).Replace(nginxConfig)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command("nginx", "-c", config))
	awaitListener(t, plaintext.address)
	awaitListener(t, secure.address)
	return plaintext, secure
}

const nginxConfig = `
daemon off; pid $dir/pid; error_log $dir/errors; worker_processes 1;
events { worker_connections 4096; }
http {
  client_body_temp_path $dir/a; proxy_temp_path $dir/b; fastcgi_temp_path $dir/c; uwsgi_temp_path $dir/d; scgi_temp_path $dir/e;
  access_log off; default_type application/json;
  ssl_protocols $protocols; ssl_session_tickets on;
  ssl_certificate $dir/cert.pem; ssl_certificate_key $dir/key.pem;
  server {
    listen $plaintext; listen $secure ssl $http2;
    location /oauth2/token/ { return 200 '{"access_token":"token","expires_in":36000,"token_type":"Bearer"}'; }
    location / { return 200 '$document'; }
  }
}`

// freeAddress returns a loopback address with a port that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener := listenAt(t, "127.0.0.1:0")
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// run starts a program that ends with the test.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	written := &safeBuffer{}
	cmd.Stderr = written
	cmd.WaitDelay = testLimit
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v\n%s", cmd.Path, err, written)
		}
	})
}

func awaitListener(t *testing.T, address string) {
	t.Helper()
	for end := time.Now().Add(testLimit); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(fmt.Errorf("nothing listens: %w", err))
		}
	}
}
