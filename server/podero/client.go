package podero

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/httpbody"
	"example.com/podero-facade/server/requestid"
	"example.com/podero-facade/server/tracecontext"
)

// MaxBody is the largest response body accepted, in bytes. Podero's documents are far smaller.
const MaxBody = 1 << 20

// Client finds documents by asking Podero, with one HTTP exchange each.
type Client struct {
	config    ClientConfig
	request   *http.Request // what all requests have in common
	prefix    string        // of paths
	userAgent []string
}

// maxHeaders is how many headers a request to Podero has, at most.
const maxHeaders = 6

var acceptJSON = []string{"application/json"}

// ClientConfig is what a Client needs.
type ClientConfig struct {
	BaseURL     string            // without a slash at the end
	Transport   http.RoundTripper // never follows a redirect, as RoundTrippers don't, and bounds the time of a round trip
	Passthrough bool              // whether tokens are callers' own, so that a 401 is their affair
	UserAgent   string
	Drift       *Drift
	Count       func(result string) // called once for each attempt with one of AttemptResults
}

// AttemptResults are the ways in which an attempt can end: with a status, without one in time, without one because of
// the network or of a limit of this machine, or with its callers gone.
var AttemptResults = []string{"2xx", "3xx", "4xx", "5xx", "timeout", "network", "local", "canceled"}

// NewClient returns a Client. It fails if there is no such base URL.
func NewClient(config ClientConfig) (*Client, error) {
	request, err := http.NewRequest(http.MethodGet, config.BaseURL, nil) //nolint:noctx // each copy has its own
	if err != nil {
		return nil, err
	}
	return &Client{
		config:    config,
		request:   request,
		prefix:    request.URL.EscapedPath(),
		userAgent: []string{config.UserAgent},
	}, nil
}

// newRequest returns the request for the document of a key.
func (c *Client) newRequest(ctx context.Context, key Key) *http.Request {
	request := c.request.WithContext(ctx)
	// Opaque is the target of the request as it is sent. Taking it apart would only be for putting it together again.
	request.URL = &url.URL{Scheme: c.request.URL.Scheme, Host: c.request.URL.Host, Opaque: c.prefix + key.Path}
	request.Pattern = key.Resource.Template // what may be told of the path
	request.Header = make(http.Header, maxHeaders)
	request.Header["Accept"] = acceptJSON
	request.Header["User-Agent"] = c.userAgent
	request.Header["Authorization"] = []string{"Bearer " + key.Token.Reveal()}
	if id := requestid.From(ctx); id != "" {
		request.Header["X-Request-Id"] = []string{id}
	}
	tracecontext.ToHTTP(ctx, request.Header)
	return request
}

// Find fetches the document with the token of the key.
func (c *Client) Find(ctx context.Context, key Key) (proto.Message, error) {
	response, err := c.config.Transport.RoundTrip(c.newRequest(ctx, key))
	if err != nil {
		return nil, c.transportError(ctx, "send a request to Podero", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := httpbody.Read(response, MaxBody)
	tooLarge, misencoded := errors.Is(err, httpbody.ErrTooLarge), errors.Is(err, httpbody.ErrEncoding)
	if err != nil && !tooLarge && !misencoded {
		return nil, c.transportError(ctx, "read Podero's response", err)
	}
	c.config.Count(statusClass(response.StatusCode))
	switch {
	case response.StatusCode != http.StatusOK: // decides before what is wrong with the body
		return nil, c.statusError(response, body, key)
	case tooLarge:
		return nil, violation("", "has more than 1 MiB")
	case misencoded:
		return nil, violation("", "is not encoded as its Content-Encoding says")
	default:
		return c.document(response, body, key)
	}
}

// document returns the document of a 200 response.
func (c *Client) document(response *http.Response, body []byte, key Key) (proto.Message, error) {
	if media := mediaType(response); media != "application/json" {
		return nil, violation("", "is not of content type application/json")
	}
	return key.Resource.Decode(body, key.OrgID, c.config.Drift)
}

// mediaType returns the type of a response's body in lower case, without parameters. If it is given twice, both have to
// be the same.
func mediaType(response *http.Response) string {
	values := response.Header["Content-Type"]
	if len(values) == 1 && values[0] == "application/json" { // the usual case
		return values[0]
	}
	var media string
	for i, value := range strings.Split(strings.Join(values, ","), ",") {
		value, _, _ = strings.Cut(value, ";")
		value = strings.ToLower(strings.TrimSpace(value))
		if i > 0 && value != media {
			return ""
		}
		media = value
	}
	return media
}

// transportError classifies a failed round trip: cut by the end of its context, timed out, failed on this machine, or
// failed in the network.
func (c *Client) transportError(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		failure := fault.FromContext(ctx)
		if failure.Kind == fault.CallerCancelled {
			c.config.Count("canceled")
		} else {
			c.config.Count("timeout")
		}
		return failure
	}
	if fault.IsLocal(err) {
		c.config.Count("local")
		cause := fmt.Errorf("%s: %w", doing, fault.Network(err))
		return fault.NewOverloaded(cause)
	}
	// Whichever clock was the first: the round trip's own, a dial's or a handshake's.
	if timed, ok := errors.AsType[net.Error](err); ok && timed.Timeout() {
		c.config.Count("timeout")
		return &fault.Error{Kind: fault.UpstreamTimeout, Cause: errors.New(doing + ": --upstream-attempt-timeout is over"), Transient: true}
	}
	c.config.Count("network")
	cause := fmt.Errorf("%s: %w", doing, fault.Network(err))
	return &fault.Error{Kind: fault.UpstreamUnavailable, Cause: cause, Transient: !isPermanent(err)}
}

// statusClass returns the class of a status, one of AttemptResults.
func statusClass(status int) string {
	switch {
	case status < 300:
		return "2xx"
	case status < 400:
		return "3xx"
	case status < 500:
		return "4xx"
	default:
		return "5xx"
	}
}

// isPermanent reports whether a network failure is one of names or certificates, so that another attempt would
// fail, too.
func isPermanent(err error) bool {
	var (
		resolution  *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
	)
	return errors.As(err, &resolution) || errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &alert)
}
