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

// Client is a Finder that fetches each document with one HTTP request to Podero.
type Client struct {
	config    ClientConfig
	request   *http.Request // template of all requests
	prefix    string        // path of the base URL
	userAgent []string
}

// maxHeaders is the largest number of headers of a request to Podero.
const maxHeaders = 6

var acceptJSON = []string{"application/json"}

// ClientConfig holds the settings of a Client.
type ClientConfig struct {
	BaseURL     string            // without a slash at the end
	Transport   http.RoundTripper // bounds the time of a round trip
	Passthrough bool              // whether tokens are callers' own, so a 401 is reported to the caller
	UserAgent   string
	Drift       *Drift
	Count       func(result string) // called once per attempt with one of AttemptResults
}

// AttemptResults are the possible results of an attempt: the class of the response's status, a
// timeout or the caller's deadline, a network error, a limit of this machine, or a caller that
// cancelled.
var AttemptResults = []string{"2xx", "3xx", "4xx", "5xx", "timeout", "network", "local", "canceled"}

// NewClient returns a Client. It fails if the base URL is invalid.
func NewClient(config ClientConfig) (*Client, error) {
	request, err := http.NewRequest(http.MethodGet, config.BaseURL, nil) //nolint:noctx // each copy has its own context
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
	// Opaque is sent as it is. Parsing the path would only serve to encode it again.
	request.URL = &url.URL{Scheme: c.request.URL.Scheme, Host: c.request.URL.Host, Opaque: c.prefix + key.Path}
	request.Pattern = key.Resource.Template // for telemetry, as the path names a person
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
	case response.StatusCode != http.StatusOK: // takes precedence over errors of the body
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
	message, err := key.Resource.Decode(body, key.OrgID, c.config.Drift)
	if err == nil && !key.Matches(message) {
		c.config.Drift.note(driftOther, string(proto.MessageName(key.Resource.Message)))
	}
	return message, err
}

// mediaType returns the media type of a response in lower case, without parameters. It returns ""
// if there are several that differ.
func mediaType(response *http.Response) string {
	values := response.Header["Content-Type"]
	if len(values) == 1 && values[0] == "application/json" { // nearly always
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

// transportError classifies a failed round trip: ended by its context, failed on this machine,
// timed out, or failed in the network.
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
	// The timeout may be that of the round trip, of the dial or of the TLS handshake.
	if timed, ok := errors.AsType[net.Error](err); ok && timed.Timeout() {
		c.config.Count("timeout")
		cause := errors.New(doing + ": --upstream-attempt-timeout is over")
		return &fault.Error{Kind: fault.UpstreamTimeout, Cause: cause, Transient: true}
	}
	c.config.Count("network")
	cause := fmt.Errorf("%s: %w", doing, fault.Network(err))
	return &fault.Error{Kind: fault.UpstreamUnavailable, Cause: cause, Transient: !isPermanent(err)}
}

// statusClass returns the class of a status as one of AttemptResults.
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

// isPermanent reports whether another attempt would fail, too: the name does not exist, the
// certificate is invalid, or the server does not speak TLS. A TLS alert is transient, as it may
// come from one of several servers.
func isPermanent(err error) bool {
	var (
		resolution  *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
	)
	if errors.As(err, &resolution) {
		return !resolution.Temporary()
	}
	return errors.As(err, &certificate) || errors.As(err, &record)
}
