package podero

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/requestid"
	"example.com/podero-facade/server/tracecontext"
)

// MaxBody is how much of an answer is read, in bytes. No document of Podero's comes near it.
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
	Transport   http.RoundTripper // never follows a redirect, as RoundTrippers don't, and bounds the time of an exchange
	Passthrough bool              // whether tokens are callers' own, so that a 401 is their affair
	UserAgent   string
	Drift       *Drift
	Count       func(result string) // of each exchange: one of Results
}

// Results are how an exchange can end: with a status, without one in time, without one for other reasons,
// or with its caller gone.
var Results = []string{"2xx", "3xx", "4xx", "5xx", "timeout", "network", "caller"}

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

// Find asks Podero for the document, with the token of the key.
func (c *Client) Find(ctx context.Context, key Key) (proto.Message, error) {
	response, err := c.config.Transport.RoundTrip(c.newRequest(ctx, key))
	if err != nil {
		return nil, c.lost(ctx, "reach Podero", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := readBody(response)
	switch {
	case fault.IsCorrupt(err):
		return nil, violation("", "is not what its content encoding says")
	case err != nil:
		return nil, c.lost(ctx, "read Podero's answer", err)
	}
	c.config.Count(class(response.StatusCode))
	if response.StatusCode != http.StatusOK {
		return nil, c.refusal(response, body, key)
	}
	return c.document(response, body, key)
}

// readBody reads an answer's body, up to a byte more than is allowed.
func readBody(response *http.Response) ([]byte, error) {
	size := int64(bytes.MinRead) // where the length is unknown
	if known := response.ContentLength; 0 <= known && known <= MaxBody {
		size += known // and as much as reading to its end needs
	}
	body := bytes.NewBuffer(make([]byte, 0, size))
	_, err := body.ReadFrom(io.LimitReader(response.Body, MaxBody+1))
	return body.Bytes(), err
}

// document returns the document of a 200 answer.
func (c *Client) document(response *http.Response, body []byte, key Key) (proto.Message, error) {
	if len(body) > MaxBody {
		return nil, violation("", "has more than 1 MiB")
	}
	if media := mediaType(response); media != "application/json" {
		return nil, violation("", "is not of content type application/json")
	}
	return key.Resource.Decode(body, key.OrgID, c.config.Drift)
}

func mediaType(response *http.Response) string {
	header := response.Header.Get("Content-Type")
	if header == "application/json" { // the usual case, without parsing
		return header
	}
	media, _, err := mime.ParseMediaType(header)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return ""
	}
	return media
}

// lost returns the error of an exchange without an answer: the caller's time or the attempt's is over,
// the caller is gone, or the network failed.
func (c *Client) lost(ctx context.Context, doing string, err error) error {
	if ended := ctx.Err(); ended != nil {
		c.config.Count("caller")
		return fault.Ended(ended)
	}
	// Whichever clock was the first: the exchange's own, a dial's or a handshake's.
	if timed, ok := errors.AsType[net.Error](err); ok && timed.Timeout() {
		c.config.Count("timeout")
		return &fault.Error{Kind: fault.UpstreamTimeout, Cause: errors.New(doing + ": the attempt's time is over"), Transient: true}
	}
	c.config.Count("network")
	cause := fmt.Errorf("%s: %w", doing, fault.Network(err))
	return &fault.Error{Kind: fault.UpstreamUnavailable, Cause: cause, Transient: !isLasting(err)}
}

// class returns the class of a status, one of Results.
func class(status int) string {
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

// isLasting reports whether a network failure is one of names or certificates, which another attempt
// would meet again.
func isLasting(err error) bool {
	var (
		resolution  *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
	)
	return errors.As(err, &resolution) || errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &alert)
}
