package token

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/secret"
)

// A Format is how the body of a token request is written.
type Format string

// The formats. Auto tries JSON, which Podero's reference shows, and form, which RFC 6749 requires.
const (
	Auto Format = "auto"
	JSON Format = "json"
	Form Format = "form"
)

// Endpoint is the token endpoint of an authorization server.
type Endpoint struct {
	config  EndpointConfig
	formats []Format // to try, in this order; the one that last worked first
}

// EndpointConfig is what an Endpoint needs.
type EndpointConfig struct {
	URL       string
	ClientID  string
	Secret    func() secret.Text // called before each request, so that it may change
	Scopes    []string
	Format    Format
	Timeout   time.Duration // of one HTTP exchange
	Transport http.RoundTripper
	UserAgent string
}

// NewEndpoint returns an Endpoint.
func NewEndpoint(config EndpointConfig) *Endpoint {
	formats := []Format{config.Format}
	if config.Format == Auto {
		formats = []Format{JSON, Form}
	}
	return &Endpoint{config, formats}
}

// Fetch requests a new access token and returns it with its lifetime, which begins with the call of Fetch. Its
// errors are *fault.Error. Fetch must not run twice at the same time.
func (e *Endpoint) Fetch(ctx context.Context) (secret.Text, time.Duration, error) {
	clientSecret := e.config.Secret()
	token, lifetime, err := e.fetch(ctx, e.formats[0], clientSecret)
	// An endpoint says that it can't read a format by finding no grant type in it. Only this error may
	// mean the format: the other ones mean the credentials, which must not be sent about at random.
	var rejected *rejection
	if len(e.formats) > 1 && errors.As(err, &rejected) && rejected.code == "unsupported_grant_type" {
		if token, lifetime, err = e.fetch(ctx, e.formats[1], clientSecret); err == nil {
			slices.Reverse(e.formats)
		}
	}
	return token, lifetime, err
}

// fetch sends one token request in the given format. Its errors are *fault.Error.
func (e *Endpoint) fetch(ctx context.Context, format Format, clientSecret secret.Text) (secret.Text, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.Timeout)
	defer cancel()
	exchange := &exchange{config: &e.config, format: format}
	credentials := clientcredentials.Config{
		ClientID:     e.config.ClientID,
		ClientSecret: clientSecret.Reveal(),
		TokenURL:     e.config.URL,
		Scopes:       e.config.Scopes,
		AuthStyle:    oauth2.AuthStyleInHeader, // never in the body, where a probe would put them
	}
	_, err := credentials.Token(context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: exchange}))
	if !errors.Is(err, errRead) && exchange.err == nil {
		return secret.Text{}, 0, fault.New(fault.TokenRejected, errors.New("the token URL is malformed; check --token-url"))
	}
	return exchange.token, exchange.lifetime, exchange.err
}

// errRead ends a token request of package oauth2 whose response has been read.
var errRead = errors.New("the response has been read")

// exchange is the http.RoundTripper of one token request. Package oauth2 makes the request; the response is read here
// and never reaches package oauth2 or net/http's client. They would follow a redirect, or fail at its Location, refuse
// an expires_in of 36000.0, and put the response's body into errors.
type exchange struct {
	config *EndpointConfig
	format Format

	token    secret.Text
	lifetime time.Duration
	err      error
}

// RoundTrip sends the request, reads the response and returns errRead, or the error that is also in x.err.
func (x *exchange) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", x.config.UserAgent)
	if x.format == JSON {
		if err := rewriteAsJSON(request); err != nil {
			x.err = fault.New(fault.Internal, err)
			return nil, x.err
		}
	}
	response, err := x.config.Transport.RoundTrip(request)
	if err != nil {
		x.err = transportError("reach the token endpoint", err)
		return nil, x.err
	}
	defer func() { _ = response.Body.Close() }()
	if x.token, x.lifetime, x.err = readResponse(response); x.err != nil {
		return nil, x.err
	}
	return nil, errRead
}

// rewriteAsJSON makes the form in a request's body a JSON object, a format that package oauth2 does not know.
func rewriteAsJSON(request *http.Request) error {
	form, err := io.ReadAll(request.Body)
	if err != nil {
		return err
	}
	_ = request.Body.Close()
	values, err := url.ParseQuery(string(form))
	if err != nil {
		return err
	}
	object := make(map[string]string, len(values))
	for name := range values {
		object[name] = values.Get(name)
	}
	body, err := json.Marshal(object, json.Deterministic(true))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Body, request.GetBody = io.NopCloser(bytes.NewReader(body)), nil
	request.ContentLength = int64(len(body))
	return nil
}
