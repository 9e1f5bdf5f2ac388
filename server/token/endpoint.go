package token

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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

const (
	maxBody     = 1 << 20
	maxLifetime = 10 * 365 * 24 * time.Hour // longer is a mistake of the endpoint's
)

// errorCodes are the errors of RFC 6749, section 5.2. What else an endpoint calls an error may be
// anything, and is kept out of the log.
var errorCodes = []string{
	"invalid_request", "invalid_client", "invalid_grant",
	"unauthorized_client", "unsupported_grant_type", "invalid_scope",
}

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

// Fetch asks for a new access token and returns it with the time that it is valid from the moment of
// asking. Its errors are *fault.Error. Fetch must not run twice at the same time.
func (e *Endpoint) Fetch(ctx context.Context) (secret.Text, time.Duration, error) {
	clientSecret := e.config.Secret()
	token, lifetime, err := e.request(ctx, e.formats[0], clientSecret)
	// An endpoint says that it can't read a format by finding no grant type in it. Only this error may
	// mean the format: the other ones mean the credentials, which must not be sent about at random.
	var refused *refusal
	if len(e.formats) > 1 && errors.As(err, &refused) && refused.code == "unsupported_grant_type" {
		if token, lifetime, err = e.request(ctx, e.formats[1], clientSecret); err == nil {
			slices.Reverse(e.formats)
		}
	}
	return token, lifetime, err
}

// request is one token request in the given format. Its errors are *fault.Error.
func (e *Endpoint) request(
	ctx context.Context, format Format, clientSecret secret.Text,
) (secret.Text, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.Timeout)
	defer cancel()
	wire := &wire{next: e.config.Transport, format: format, userAgent: e.config.UserAgent}
	client := &http.Client{
		Transport: wire,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse // a redirect that is followed gives the credentials away
		},
	}
	credentials := clientcredentials.Config{
		ClientID:     e.config.ClientID,
		ClientSecret: clientSecret.Reveal(),
		TokenURL:     e.config.URL,
		Scopes:       e.config.Scopes,
		AuthStyle:    oauth2.AuthStyleInHeader, // never in the body, where a probe would put them
	}
	token, err := credentials.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err != nil {
		return secret.Text{}, 0, failure(err, wire.status)
	}
	lifetime, err := usable(token)
	if err != nil {
		return secret.Text{}, 0, &fault.Error{Kind: fault.TokenRejected, HTTPStatus: wire.status, Cause: err}
	}
	return secret.New(token.AccessToken), lifetime, nil
}

// wire carries one token request: it writes the body in a format that package oauth2 does not know, and
// reads the answer whole, so that one that is cut short is an error of the network.
type wire struct {
	next      http.RoundTripper
	format    Format
	userAgent string
	status    int // of the answer
}

func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", w.userAgent)
	if w.format == JSON {
		if err := rewriteAsJSON(request); err != nil {
			return nil, err
		}
	}
	response, err := w.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return nil, err
	}
	w.status = response.StatusCode
	response.Body = io.NopCloser(bytes.NewReader(withWholeLifetime(body)))
	return response, nil
}

// withWholeLifetime returns a token answer with an expires_in such as 36000.0 as the integer that package
// oauth2 wants, and any other body as it is.
func withWholeLifetime(body []byte) []byte {
	var answer map[string]jsontext.Value
	if json.Unmarshal(body, &answer) != nil {
		return body
	}
	seconds, err := strconv.ParseFloat(string(answer["expires_in"]), 64)
	if err != nil || math.Abs(seconds) >= 1<<53 {
		return body
	}
	answer["expires_in"] = jsontext.Value(strconv.FormatInt(int64(seconds), 10))
	if whole, err := json.Marshal(answer); err == nil {
		return whole
	}
	return body
}

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
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Body = io.NopCloser(bytes.NewReader(body))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	request.ContentLength = int64(len(body))
	return nil
}

// failure returns the error that a failed token request stands for. None of the answer's text goes into
// it: it may repeat the credentials. status is the answer's, 0 if there was none.
func failure(err error, status int) *fault.Error {
	var (
		unreachable *url.Error
		answer      *oauth2.RetrieveError
		code        string
	)
	if errors.As(err, &answer) && slices.Contains(errorCodes, answer.ErrorCode) {
		code = answer.ErrorCode
	}
	switch {
	case errors.As(err, &unreachable):
		cause := fmt.Errorf("reach the token endpoint: %w", fault.Network(err))
		return &fault.Error{Kind: fault.TokenUnavailable, Cause: cause, Final: true}
	case status == http.StatusTooManyRequests || status >= 500:
		return &fault.Error{Kind: fault.TokenUnavailable, HTTPStatus: status, Final: true}
	default:
		return &fault.Error{Kind: fault.TokenRejected, HTTPStatus: status, Cause: &refusal{code, remedy(status, code)}}
	}
}

// refusal is why the endpoint gave no token.
type refusal struct {
	code   string // the OAuth 2.0 error, or ""
	remedy string
}

func (r *refusal) Error() string { return r.remedy }

// remedy says to the operator what a refusal means and what to do about it.
func remedy(status int, code string) string {
	switch {
	case code == "invalid_client" || code == "" && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		return "the client credentials are wrong; check --client-id and the client secret"
	case code == "unsupported_grant_type":
		return "unsupported_grant_type: check --token-request-format, and that the client may use client credentials"
	case code == "invalid_scope":
		return "invalid_scope: check --scope"
	case code != "":
		return code
	case status >= 300 && status < 400:
		return "the token URL redirects; check --token-url, down to the slash at its end"
	default:
		return "there is no token in the answer; check --token-url, down to the slash at its end"
	}
}

// usable returns how long a token is valid, or what is wrong with it.
func usable(token *oauth2.Token) (time.Duration, error) {
	if !strings.EqualFold(token.Type(), "Bearer") {
		return 0, errors.New("the token is not of type Bearer")
	}
	if !isBearer(token.AccessToken) {
		return 0, errors.New("the token has characters that no bearer token has (RFC 6750, section 2.1)")
	}
	seconds, ok := expiresIn(token.Extra("expires_in"))
	if !ok {
		return 0, errors.New("expires_in is missing or not a number")
	}
	// In floating point, as the number may be too large for anything else.
	if seconds <= 0 || seconds > maxLifetime.Seconds() {
		return 0, fmt.Errorf("expires_in is %g seconds", seconds)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// expiresIn reads expires_in, a number that some endpoints write as text.
func expiresIn(value any) (float64, bool) {
	switch v := value.(type) {
	case float64:
		return v, !math.IsNaN(v)
	case string:
		seconds, err := strconv.ParseFloat(v, 64)
		return seconds, err == nil && !math.IsNaN(seconds)
	default:
		return 0, false
	}
}

// isBearer reports whether s can stand in an Authorization header.
func isBearer(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
