package main

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	admin := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		if r.Host != "localhost" { // the service refuses hosts that are not this machine
			t.Errorf("asked the host %s", r.Host)
		}
		w.WriteHeader(status)
	})}
	served := make(chan error, 1)
	go func() { served <- admin.Serve(listener) }()
	t.Cleanup(func() {
		_ = admin.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	// A proxy of the environment's stands between nobody and this machine.
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	for _, c := range []struct {
		address string
		answer  int
		status  int
		want    string
	}{
		{"127.0.0.1:" + port, http.StatusOK, 0, ""},
		{"0.0.0.0:" + port, http.StatusOK, 0, ""},
		{":" + port, http.StatusOK, 0, ""},
		{":" + port, http.StatusServiceUnavailable, 1, "not ready: /readyz answers 503\n"},
		{"127.0.0.1:1", http.StatusOK, 1, "podero-facade: --admin-listen (PODERO_FACADE_ADMIN_LISTEN): dial tcp 127.0.0.1:1: "},
		{port, http.StatusOK, 1, "missing port in address"},
	} {
		status = c.answer
		t.Setenv("PODERO_FACADE_ADMIN_LISTEN", c.address)
		var out, failures output
		if got := run(t.Context(), []string{"healthcheck"}, streams{&out, &failures}); got != c.status || !strings.Contains(failures.String(), c.want) {
			t.Errorf("%s: exit status %d, %s", c.address, got, failures.String())
		}
	}
}

// TestCAsAreInTheProgram runs this test again as on a system without any.
func TestCAsAreInTheProgram(t *testing.T) {
	if os.Getenv("SSL_CERT_FILE") == "/nowhere" {
		pool, err := x509.SystemCertPool()
		if err != nil || pool.Equal(x509.NewCertPool()) {
			t.Errorf("no CA to trust: %v", err)
		}
		return
	}
	again := exec.Command(os.Args[0], "-test.run", "^TestCAsAreInTheProgram$")
	again.Env = append(os.Environ(), "SSL_CERT_FILE=/nowhere", "SSL_CERT_DIR=/nowhere")
	if output, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}
