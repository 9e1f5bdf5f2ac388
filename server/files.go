package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

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

// clientCAs are the CAs of --tls-client-ca-file.
type clientCAs struct {
	pool   *x509.CertPool
	expiry time.Time // of the first that will expire; zero if all have
}

// parseClientCAs parses the file of --tls-client-ca-file.
func parseClientCAs(contents ...[]byte) (clientCAs, error) {
	cas, now := clientCAs{pool: x509.NewCertPool()}, time.Now()
	if !cas.pool.AppendCertsFromPEM(contents[0]) {
		return clientCAs{}, errors.New("there is no certificate in it")
	}
	for block, rest := pem.Decode(contents[0]); block != nil; block, rest = pem.Decode(rest) {
		ca, err := x509.ParseCertificate(block.Bytes)
		if err == nil && ca.NotAfter.After(now) && (cas.expiry.IsZero() || ca.NotAfter.Before(cas.expiry)) {
			cas.expiry = ca.NotAfter
		}
	}
	return cas, nil
}

// parsePolicy parses the file of --caller-policy-file.
func parsePolicy(contents ...[]byte) (*caller.Policy, error) {
	policy, err := caller.ParsePolicy(contents[0])
	return policy, describeYAML(err)
}

var (
	yamlLine = regexp.MustCompile(`^line \d+`)
	yamlKey  = regexp.MustCompile(`field (\S+) (not found|already set)`)
)

// describeYAML returns an error without the Go types and the values that package yaml puts into its own.
func describeYAML(err error) error {
	wrong, ok := errors.AsType[*yaml.TypeError](err)
	if !ok {
		return err
	}
	var lines []string
	for _, text := range wrong.Errors {
		problem := "the value is of the wrong type"
		if key := yamlKey.FindStringSubmatch(text); key != nil {
			problem = map[string]string{"not found": "there is no key ", "already set": "there are two keys "}[key[2]] + key[1]
		}
		lines = append(lines, yamlLine.FindString(text)+": "+problem)
	}
	return errors.New(strings.Join(lines, "; "))
}

// tryAppend returns why a file can't be appended to. It leaves none that was not there.
func tryAppend(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		file, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		return errors.Join(file.Close(), os.Remove(path))
	case err != nil:
		return err
	case !info.Mode().IsRegular() && !info.IsDir():
		return nil // to open a pipe may take until somebody reads
	}
	file, err := os.OpenFile(filepath.Clean(path), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	return file.Close()
}
