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
	"time"

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
	userAgent []string
}

// maxHeaders is how many headers a request to Podero has, at most.
const maxHeaders = 6

var acceptJSON = []string{"application/json"}

// ClientConfig is what a Client needs.
type ClientConfig struct {
	BaseURL        string            // without a slash at the end
	Transport      http.RoundTripper // never follows a redirect, as RoundTrippers don't
	Passthrough    bool              // whether tokens are callers' own, so that a 401 is their affair
	AttemptTimeout time.Duration     // of one HTTP exchange
	UserAgent      string
	Drift          *Drift
	Count          func(result string) // of each exchange: one of Results
}

// Results are how an exchange can end: with a status, without one in time, without one for other reasons,
// or with its caller gone.
var Results = []string{"2xx", "3xx", "4xx", "5xx", "timeout", "network", "caller"}

// NewClient returns a Client.
func NewClient(config ClientConfig) *Client {
	return &Client{config: config, userAgent: []string{config.UserAgent}}
}

// Find asks Podero for the document, with the token of the key.
func (c *Client) Find(ctx context.Context, key Key) (proto.Message, error) {
	// Not context.WithTimeout, which would leave the timing to ctx if that ends sooner: the deadline of a
	// lookup that several callers share may still move.
	attempt, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(c.config.AttemptTimeout, func() { cancel(context.DeadlineExceeded) }).Stop()
	request, err := http.NewRequestWithContext(attempt, http.MethodGet, c.config.BaseURL+key.Path, nil)
	if err != nil { // only of a base URL that the configuration refuses
		return nil, fault.New(fault.Internal, errors.New("build the request to Podero"))
	}
	request.Pattern = key.Resource.Template // what may be told of the path
	request.Header = make(http.Header, maxHeaders)
	request.Header["Authorization"] = []string{"Bearer " + key.Token.Reveal()}
	request.Header["Accept"] = acceptJSON
	request.Header["User-Agent"] = c.userAgent
	if id := requestid.From(ctx); id != "" {
		request.Header["X-Request-Id"] = []string{id}
	}
	tracecontext.ToHTTP(ctx, request.Header)
	response, err := c.config.Transport.RoundTrip(request)
	if err != nil {
		return nil, c.lost(ctx, attempt, "reach Podero", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := readBody(response)
	switch {
	case fault.IsCorrupt(err):
		return nil, violation("", "is not what its content encoding says")
	case err != nil:
		return nil, c.lost(ctx, attempt, "read Podero's answer", err)
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
func (c *Client) lost(ctx, attempt context.Context, doing string, err error) error {
	if ended := ctx.Err(); ended != nil {
		c.config.Count("caller")
		return fault.Ended(ended)
	}
	// Whichever of the attempt's clocks was the first: its own, a dial's or a handshake's.
	if timed, ok := errors.AsType[net.Error](err); attempt.Err() != nil || ok && timed.Timeout() {
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
