package server

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"

	"google.golang.org/grpc/credentials"

	"example.com/podero-facade/server/internal/filewatch"
	"example.com/podero-facade/server/telemetry"
)

// certReloader provides the certificate of the service, and the CAs of its callers' certificates, as their
// files have them now.
type certReloader struct {
	minVersion uint16
	pair       *filewatch.Value[tls.Certificate]
	clientCAs  *filewatch.Value[*x509.CertPool] // nil to request no certificate
}

// newCertReloader loads the files of a configuration with TLS.
func newCertReloader(config *TLS, files *filewatch.Watcher, metrics *telemetry.Metrics) (*certReloader, error) {
	r := &certReloader{minVersion: config.minVersion()}
	var err error
	if r.pair, err = watchFile(files, metrics, "tls-cert-file", parseKeyPair, config.TLSCertFile, config.TLSKeyFile); err != nil {
		return nil, err
	}
	if config.TLSClientCAFile != "" {
		r.clientCAs, err = watchFile(files, metrics, "tls-client-ca-file", parseClientCAs, config.TLSClientCAFile)
	}
	return r, err
}

// serverConfig returns a TLS configuration for a listener of the given protocols (ALPN).
func (r *certReloader) serverConfig(protocols ...string) *tls.Config {
	base := &tls.Config{MinVersion: r.minVersion, NextProtos: protocols}
	config := base.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		current := base.Clone()
		current.Certificates = []tls.Certificate{r.pair.Load()}
		if r.clientCAs != nil {
			current.ClientAuth, current.ClientCAs = tls.VerifyClientCertIfGiven, r.clientCAs.Load()
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
