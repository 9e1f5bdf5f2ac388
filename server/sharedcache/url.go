package sharedcache

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"example.com/podero-facade/server/secret"
)

const (
	cleartextScheme = "redis"
	tlsScheme       = "rediss"
	defaultPort     = "6379"
)

var (
	errURL       = errors.New("is not a URL of Redis; give one like rediss://user:password@host:6379/0")
	errFragment  = errors.New("has a fragment; leave it out, and write # in a password as %23")
	errPassword  = errors.New("has a user without a password; give both, or :password for the default user")
	errDatabase  = errors.New("has a path that is no number of a database; give one like /0, or none")
	errParameter = errors.New("has a parameter other than addr; leave it out")
	errNode      = errors.New("has an addr that is not an address; give one like addr=host:6379")
	errCluster   = errors.New("names a database, which a cluster does not have; leave the path out")
)

// CheckURL returns what is wrong with the URL of a Redis server or cluster, without quoting it.
func CheckURL(location secret.Text) error {
	_, err := parse(location)
	return err
}

// CleartextHosts returns the hosts of the servers that a URL names if it is one without TLS.
func CleartextHosts(location secret.Text) (hosts []string) {
	options, err := parse(location)
	if err != nil || options.TLSConfig != nil {
		return nil
	}
	for _, address := range options.Addrs {
		host, _, _ := net.SplitHostPort(address) // which parse made
		hosts = append(hosts, host)
	}
	return hosts
}

// parse parses a URL, of which no part may be ignored: who wrote it means something by it.
//
//	( "redis" / "rediss" ) "://" [ [ user ] ":" password "@" ] host [ ":" port ] [ "/" [ database ] ]
//	    [ "?addr=" host [ ":" port ] *( "&addr=" host [ ":" port ] ) ]
//
// rediss is for TLS, and addr for the other nodes of a cluster.
func parse(location secret.Text) (*redis.UniversalOptions, error) {
	text := location.Reveal()
	u, err := url.Parse(text)
	if err != nil || u.Scheme != cleartextScheme && u.Scheme != tlsScheme || u.Opaque != "" {
		return nil, errURL
	}
	options := newOptions()
	if u.Scheme == tlsScheme {
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	address, ok := parseAddress(u.Host)
	switch options.Addrs = []string{address}; {
	case !ok:
		return nil, errURL
	case strings.Contains(text, "#"):
		return nil, errFragment
	}
	options.Username = u.User.Username()
	if options.Password, _ = u.User.Password(); u.User != nil && options.Password == "" {
		return nil, errPassword
	}
	if options.DB, err = parseDatabase(u.Path); err != nil {
		return nil, err
	}
	return options, addNodes(options, u.RawQuery)
}

func newOptions() *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Protocol:                 2, // whose framing is checked
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		ContextTimeoutEnabled:    true,
		DialTimeout:              exchangeTimeout,
		ReadTimeout:              exchangeTimeout,
		WriteTimeout:             exchangeTimeout,
		PoolSize:                 connections,
		MaxRetries:               -1, // a miss does
		DialerRetries:            1,
	}
}

// addNodes adds the other nodes of a cluster that a query names.
func addNodes(options *redis.UniversalOptions, query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errParameter
	}
	for name, nodes := range values {
		if name != "addr" {
			return errParameter
		}
		for _, node := range nodes {
			address, ok := parseAddress(node)
			if !ok {
				return errNode
			}
			options.Addrs = append(options.Addrs, address)
		}
		options.IsClusterMode = true
	}
	if options.IsClusterMode && options.DB != 0 {
		return errCluster
	}
	return nil
}

func parseDatabase(path string) (int, error) {
	text := strings.TrimPrefix(path, "/")
	if text == "" {
		return 0, nil
	}
	number, err := strconv.ParseUint(text, 10, 31)
	if err != nil || strconv.FormatUint(number, 10) != text {
		return 0, errDatabase
	}
	return int(number), nil
}

// parseAddress parses a host with or without a port, and returns it with one.
func parseAddress(text string) (address string, ok bool) {
	u, err := url.Parse("//" + text)
	if err != nil || u.Host != text || u.Hostname() == "" {
		return "", false
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return "", false
	}
	return net.JoinHostPort(u.Hostname(), port), true
}
