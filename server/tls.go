package server

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc/credentials"

	"example.com/podero-facade/server/internal/filewatch"
	"example.com/podero-facade/server/telemetry"
)

// certReloader provides the certificate of the service, and the CAs of its callers' certificates, as their
// files have them now.
type certReloader struct {
	minVersion uint16
	pair       *filewatch.Value[tls.Certificate]
	clientCAs  *filewatch.Value[clientCAs] // nil to request no certificate
}

// newCertReloader loads the files of a configuration with TLS.
func newCertReloader(config *TLS, files *filewatch.Watcher, metrics *telemetry.Metrics, log *slog.Logger) (*certReloader, error) {
	r := &certReloader{minVersion: config.minVersion()}
	var err error
	if r.pair, err = watchFile(files, metrics, "tls-cert-file", parseKeyPair, config.TLSCertFile, config.TLSKeyFile); err != nil {
		return nil, err
	}
	watchExpiry(metrics, "server", func() time.Time { return r.pair.Load().Leaf.NotAfter })
	if expiry := r.pair.Load().Leaf.NotAfter; time.Now().After(expiry) {
		log.Warn("the certificate of --tls-cert-file has expired: callers will refuse it", "expiry", expiry.UTC().Format(time.RFC3339))
	}
	if config.TLSClientCAFile != "" {
		r.clientCAs, err = watchFile(files, metrics, "tls-client-ca-file", parseClientCAs, config.TLSClientCAFile)
		if err != nil {
			return nil, err
		}
		watchExpiry(metrics, "client_ca", func() time.Time { return r.clientCAs.Load().expiry })
	}
	return r, nil
}

// callerCAs returns the CAs that callers' certificates must verify against now.
func (r *certReloader) callerCAs() *x509.CertPool { return r.clientCAs.Load().pool }

// serverConfig returns a TLS configuration for a listener of the given protocols (ALPN).
func (r *certReloader) serverConfig(protocols ...string) *tls.Config {
	base := &tls.Config{MinVersion: r.minVersion, NextProtos: protocols}
	config := base.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		current := base.Clone()
		current.Certificates = []tls.Certificate{r.pair.Load()}
		if r.clientCAs != nil {
			current.ClientAuth, current.ClientCAs = tls.VerifyClientCertIfGiven, r.clientCAs.Load().pool
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
