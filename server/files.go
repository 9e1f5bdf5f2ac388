package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"unicode"

	"example.com/podero-facade/server/caller"
	"example.com/podero-facade/server/internal/filewatch"
	"example.com/podero-facade/server/secret"
	"example.com/podero-facade/server/telemetry"
)

// watchFile loads the value of a setting from its files, reloads it when they change, and exports a
// metric that is 1 while the changed files can't be used.
func watchFile[T any](
	watcher *filewatch.Watcher, metrics *telemetry.Metrics, setting string, parse filewatch.Parser[T], files ...string,
) (*filewatch.Value[T], error) {
	value, err := filewatch.Load(watcher, setting, parse, files...)
	if err != nil {
		return nil, err
	}
	metrics.LabeledGauge("podero_facade_watched_file_stale",
		"1 while a file that may change can't be used, so that its last good value stays in use.", "file", setting,
		func() float64 {
			if value.Stale() {
				return 1
			}
			return 0
		})
	return value, nil
}

// parseSecret parses the file of --client-secret-file.
func parseSecret(contents ...[]byte) (secret.Text, error) {
	text := strings.TrimSpace(string(contents[0]))
	switch {
	case text == "":
		return secret.Text{}, errors.New("it is empty")
	case strings.ContainsFunc(text, isControl):
		return secret.Text{}, errors.New("it has a control character or a byte order mark in it")
	}
	return secret.New(text), nil
}

// isControl reports whether a character is a control character or a byte order mark. No client ID and no secret has one:
// the file was saved by the wrong editor, or is another one.
func isControl(c rune) bool { return unicode.IsControl(c) || c == '\uFEFF' }

// parseKeyPair parses the files of --tls-cert-file and --tls-key-file.
func parseKeyPair(contents ...[]byte) (tls.Certificate, error) {
	return tls.X509KeyPair(contents[0], contents[1])
}

// parseClientCAs parses the file of --tls-client-ca-file.
func parseClientCAs(contents ...[]byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(contents[0]) {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}

// parsePolicy parses the file of --caller-policy-file.
func parsePolicy(contents ...[]byte) (*caller.Policy, error) { return caller.ParsePolicy(contents[0]) }
