package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

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
	request, err := e.newRequest(ctx, format, clientSecret)
	if err != nil {
		return secret.Text{}, 0, fault.New(fault.TokenRejected, errors.New("the token URL is malformed; check --token-url"))
	}
	// Not by an http.Client: it looks at the Location of a redirect even if it is told not to follow it, and
	// one that is followed gives the credentials away.
	response, err := e.config.Transport.RoundTrip(request)
	if err != nil {
		return secret.Text{}, 0, unavailable(0, fmt.Errorf("reach the token endpoint: %w", fault.Network(err)))
	}
	defer func() { _ = response.Body.Close() }()
	return readResponse(response)
}

// newRequest returns a token request (RFC 6749, sections 2.3.1 and 4.4.2).
func (e *Endpoint) newRequest(ctx context.Context, format Format, clientSecret secret.Text) (*http.Request, error) {
	values := map[string]string{"grant_type": "client_credentials"}
	if len(e.config.Scopes) > 0 {
		values["scope"] = strings.Join(e.config.Scopes, " ")
	}
	contentType, body, err := encode(format, values)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, e.config.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth(url.QueryEscape(e.config.ClientID), url.QueryEscape(clientSecret.Reveal()))
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", e.config.UserAgent)
	return request, nil
}

// encode returns the body of a token request and its content type.
func encode(format Format, values map[string]string) (contentType string, body []byte, err error) {
	if format == JSON {
		body, err = json.Marshal(values, json.Deterministic(true))
		return "application/json", body, err
	}
	form := url.Values{}
	for name, value := range values {
		form.Set(name, value)
	}
	return formType, []byte(form.Encode()), nil
}
