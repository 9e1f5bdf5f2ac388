package sharedcache

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/dial"
	"example.com/podero-facade/server/secret"
)

const (
	connections     = 16          // to a Redis server, and exchanges with it at the same time
	exchangeTimeout = time.Second // of an exchange, connecting included, for which no lookup waits
	maxValue        = 64 << 10    // bytes of an entry
)

// newClient returns a client that has not connected yet. roots returns the CAs by which a server's certificate must
// verify; nil stands for the system's.
func newClient(location secret.Text, roots func() (*x509.CertPool, error)) (redis.UniversalClient, error) {
	options, err := parse(location)
	if err != nil {
		return nil, err
	}
	if options.TLSConfig != nil {
		if options.TLSConfig.RootCAs, err = roots(); err != nil {
			return nil, err
		}
	}
	options.Dialer = newDialer(options.TLSConfig, limitsOf(options))
	return redis.NewUniversalClient(options), nil
}

// limitsOf returns the limits of replies.
func limitsOf(options *redis.UniversalOptions) frameLimits {
	if options.IsClusterMode {
		return clusterLimits
	}
	return serverLimits
}

// newDialer returns a function that connects to a Redis server, over TLS if there is a config.
func newDialer(config *tls.Config, limits frameLimits) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := dial.New(exchangeTimeout)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
		defer cancel()
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if config == nil {
			return newCheckedConn(conn, limits), nil
		}
		secure := tls.Client(conn, withServerName(config, address))
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return newCheckedConn(secure, limits), nil
	}
}

// withServerName returns a config for a server at an address, with whose host its certificate must be valid.
func withServerName(config *tls.Config, address string) *tls.Config {
	config = config.Clone()
	config.ServerName, _, _ = net.SplitHostPort(address)
	return config
}

// get returns a value and how much longer it is kept; 0 if it is not there, or kept for ever. No more is read of a
// value than any of ours has.
func get(ctx context.Context, client redis.UniversalClient, name string) (value string, left time.Duration, err error) {
	pipe := client.Pipeline()
	text := pipe.GetRange(ctx, name, 0, maxValue-1)
	expiry := pipe.PTTL(ctx, name)
	if _, err := pipe.Exec(ctx); err != nil {
		return "", 0, err
	}
	return text.Val(), max(expiry.Val(), 0), nil
}

// set writes a value that expires. It is a pipeline, because go-redis asks a cluster for the properties of a command that
// is sent alone: a reply of 11,507 elements.
func set(ctx context.Context, client redis.UniversalClient, name string, value any, expiry time.Duration) error {
	pipe := client.Pipeline()
	pipe.Set(ctx, name, value, expiry)
	_, err := pipe.Exec(ctx)
	return err
}

// Try writes an entry that no lookup finds and reads it back, as lookups do. The error is fit for the log, so that what
// go-redis logs about it is discarded.
func Try(ctx context.Context, location secret.Text, roots func() (*x509.CertPool, error)) error {
	logging.Disable()
	client, err := newClient(location, roots)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	name, want := namePrefix+rand.Text(), rand.Text()
	if err := set(ctx, client, name, want, exchangeTimeout); err != nil {
		return describe(err)
	}
	switch got, left, err := get(ctx, client, name); {
	case err != nil:
		return describe(err)
	case got != want || left == 0:
		return errors.New("an entry could not be read back")
	default:
		return nil
	}
}

// A RefusalError is the first word of an error that Redis itself answers with, such as NOAUTH. What follows may be anything.
type RefusalError string

// Error describes the refusal.
func (e RefusalError) Error() string { return "Redis answers " + string(e) }

// describe returns an error in a form that is fit for the log.
func describe(err error) error {
	var refusal redis.Error
	switch {
	case errors.As(err, &refusal):
		word, _, _ := strings.Cut(refusal.Error(), " ")
		return RefusalError(word)
	case errors.Is(err, errFrame):
		return errFrame
	case errors.Is(err, errSlow), errors.Is(err, errBusy):
		return err
	default:
		return fault.Network(err)
	}
}

const (
	maxFailures = 5           // in a row
	pauseTime   = time.Second // without asking
)

// A pause leaves Redis alone for a moment after some failures in a row, and then asks it once.
type pause struct {
	failures atomic.Int64
	until    atomic.Pointer[time.Time] // nil while Redis answers
}

// over reports whether Redis may be asked.
func (p *pause) over() bool {
	until := p.until.Load()
	if until == nil {
		return true
	}
	now := time.Now()
	next := now.Add(pauseTime)
	return now.After(*until) && p.until.CompareAndSwap(until, &next)
}

// note takes note of how an exchange went. It reports whether that began or ended the time in which Redis is left alone.
func (p *pause) note(ok bool) (changed bool) {
	if ok {
		p.failures.Store(0)
		return p.until.Swap(nil) != nil
	}
	if p.failures.Add(1) < maxFailures {
		return false
	}
	until := time.Now().Add(pauseTime)
	return p.until.Swap(&until) == nil
}
