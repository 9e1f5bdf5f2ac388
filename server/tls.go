package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"example.com/podero-facade/server/watch"
	"google.golang.org/grpc/credentials"
)

// watchInterval is how often files that may change are looked at.
const watchInterval = time.Second

// identity is who the service is to callers, and which callers' certificates it trusts. It follows its
// files as they change.
type identity struct {
	config  *TLS
	log     *slog.Logger
	files   *watch.Watch
	current atomic.Pointer[material]
}

// material is what the files of an identity have in them.
type material struct {
	certificate tls.Certificate
	clientCAs   *x509.CertPool // nil to ask for no certificate
}

// newIdentity reads the files of a configuration with TLS.
func newIdentity(config *TLS, log *slog.Logger) (*identity, error) {
	files := []string{config.TLSCertFile, config.TLSKeyFile}
	if config.TLSClientCAFile != "" {
		files = append(files, config.TLSClientCAFile)
	}
	i := &identity{config: config, log: log, files: watch.New(files...)}
	m, err := config.read()
	if err != nil {
		return nil, err
	}
	i.current.Store(m)
	return i, nil
}

// read reads the files.
func (t *TLS) read() (*material, error) {
	certificate, err := tls.LoadX509KeyPair(t.TLSCertFile, t.TLSKeyFile)
	if err != nil {
		return nil, fmt.Errorf("load --tls-cert-file and --tls-key-file: %w", err)
	}
	m := &material{certificate: certificate}
	if t.TLSClientCAFile == "" {
		return m, nil
	}
	pem, err := os.ReadFile(t.TLSClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("load --tls-client-ca-file: %w", err)
	}
	m.clientCAs = x509.NewCertPool()
	if !m.clientCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("load --tls-client-ca-file: there is no certificate in it")
	}
	return m, nil
}

// run reads the files again whenever they change, until ctx ends. Files that can't be used, as while they
// are being replaced, leave what was there before.
func (i *identity) run(ctx context.Context) {
	i.files.Run(ctx, watchInterval, func() {
		m, err := i.config.read()
		if err != nil {
			i.log.ErrorContext(ctx, "changed certificates can't be used; the old ones stay", "error", err.Error())
			return
		}
		i.current.Store(m)
		i.log.InfoContext(ctx, "certificates reloaded")
	})
}

// serverConfig returns a TLS configuration for a listener of the given protocols (ALPN).
func (i *identity) serverConfig(protocols ...string) *tls.Config {
	base := &tls.Config{MinVersion: i.config.minVersion(), NextProtos: protocols}
	config := base.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		m := i.current.Load()
		current := base.Clone()
		current.Certificates = []tls.Certificate{m.certificate}
		if m.clientCAs != nil {
			current.ClientAuth, current.ClientCAs = tls.VerifyClientCertIfGiven, m.clientCAs
		}
		return current, nil
	}
	return config
}

// loggedHandshakes are credentials that log the handshakes which fail: grpc-go's own log is off, as it may
// quote anything.
type loggedHandshakes struct {
	credentials.TransportCredentials
	log *slog.Logger
}

func (l loggedHandshakes) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := l.TransportCredentials.ServerHandshake(conn)
	if err != nil {
		l.log.Debug("TLS handshake failed", "listener", "grpc", "remote", conn.RemoteAddr().String(), "error", err.Error())
	}
	return secured, info, err
}

func (l loggedHandshakes) Clone() credentials.TransportCredentials {
	return loggedHandshakes{l.TransportCredentials.Clone(), l.log}
}
