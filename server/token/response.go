package token

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/httpbody"
	"example.com/podero-facade/server/secret"
)

const (
	maxBody         = 1 << 20
	maxToken        = 16 << 10        // bytes
	defaultLifetime = 5 * time.Minute // of a token that comes without expires_in
	minLifetime     = time.Second
	maxLifetime     = 24 * time.Hour // a longer one is cut to that

	formType = "application/x-www-form-urlencoded"
)

// errorCodes are the errors of RFC 6749, section 5.2. What else an endpoint calls an error may be
// anything, and is kept out of the log.
var errorCodes = []string{
	"invalid_request", "invalid_client", "invalid_grant",
	"unauthorized_client", "unsupported_grant_type", "invalid_scope",
}

// body is the body of a token endpoint's response (RFC 6749, sections 5.1 and 5.2).
type body struct {
	AccessToken string         `json:"access_token"`
	TokenType   string         `json:"token_type"`
	ExpiresIn   jsontext.Value `json:"expires_in"` // a number or a string; empty if it is missing
	Error       string         `json:"error"`
}

// readResponse returns the token of a response and its lifetime. The status decides first. None of the
// body's text goes into an error: it may repeat the credentials.
func readResponse(response *http.Response) (secret.Text, time.Duration, error) {
	status := response.StatusCode
	if status == http.StatusTooManyRequests || status/100 == 5 {
		return secret.Text{}, 0, unavailable(status, nil)
	}
	content, err := httpbody.Read(response, maxBody)
	success := status/100 == 2
	unusable := errors.Is(err, httpbody.ErrTooLarge) || errors.Is(err, httpbody.ErrEncoding)
	if success && err != nil && !unusable {
		return secret.Text{}, 0, transportError("read the token endpoint's response", err)
	}
	if success && unusable {
		content = nil
	}
	b := parseBody(response.Header.Get("Content-Type"), content)
	if !success || b.Error != "" || b.AccessToken == "" {
		return secret.Text{}, 0, rejected(status, b.Error)
	}
	lifetime, err := b.validate()
	if err != nil {
		return secret.Text{}, 0, &fault.Error{Kind: fault.TokenRejected, HTTPStatus: status, Cause: err}
	}
	return secret.New(b.AccessToken), lifetime, nil
}

// parseBody parses JSON, whatever the content type says, or a form. The zero body stands for anything else.
func parseBody(contentType string, content []byte) (b body) {
	if len(content) > maxBody {
		return body{}
	}
	content = bytes.TrimSpace(bytes.TrimPrefix(content, []byte("\ufeff")))
	if bytes.HasPrefix(content, []byte("{")) {
		// As leniently as clients of OAuth usually read it.
		if json.Unmarshal(content, &b, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) != nil {
			return body{}
		}
		return b
	}
	if media, _, _ := mime.ParseMediaType(contentType); media != formType && media != "text/plain" {
		return body{}
	}
	form, err := url.ParseQuery(string(content))
	if err != nil {
		return body{}
	}
	expiresIn, err := jsontext.AppendQuote(nil, form.Get("expires_in"))
	if err != nil {
		return body{}
	}
	return body{form.Get("access_token"), form.Get("token_type"), expiresIn, form.Get("error")}
}

// validate returns the lifetime of a token, or what is wrong with the token.
func (b *body) validate() (time.Duration, error) {
	switch {
	case b.TokenType != "" && !strings.EqualFold(b.TokenType, "Bearer"):
		return 0, errors.New("the token is not of type Bearer")
	case len(b.AccessToken) > maxToken:
		return 0, fmt.Errorf("the token has more than %d bytes", maxToken)
	case !isBearer(b.AccessToken):
		return 0, errors.New("the token has characters that no bearer token has (RFC 6750, section 2.1)")
	default:
		return lifetime(b.ExpiresIn)
	}
}

// lifetime returns the lifetime that expires_in stands for.
func lifetime(expiresIn jsontext.Value) (time.Duration, error) {
	var text string
	switch expiresIn.Kind() {
	case '0':
		text = string(expiresIn)
	case '"':
		if err := json.Unmarshal(expiresIn, &text); err != nil {
			return 0, errNoNumber
		}
		text = strings.TrimSpace(text)
	case 'n', 0: // null, missing
	default:
		return 0, errNoNumber
	}
	if text == "" {
		return defaultLifetime, nil
	}
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil, math.IsNaN(seconds), math.IsInf(seconds, 0), strings.ContainsAny(text, "xX_"):
		return 0, errNoNumber
	case seconds < minLifetime.Seconds():
		return 0, errors.New("expires_in is less than one second")
	default: // in floating point, as the number may be too large for anything else
		return time.Duration(min(seconds, maxLifetime.Seconds()) * float64(time.Second)), nil
	}
}

var errNoNumber = errors.New("expires_in is not a finite number")

// transportError returns the error of a token request without a complete response.
func transportError(doing string, err error) *fault.Error {
	cause := fmt.Errorf("%s: %w", doing, fault.Network(err))
	if fault.IsLocal(err) {
		return fault.NewOverloaded(cause)
	}
	return unavailable(0, cause)
}

// unavailable returns the error of a token request that may succeed later.
func unavailable(status int, cause error) *fault.Error {
	return &fault.Error{Kind: fault.TokenUnavailable, HTTPStatus: status, Cause: cause, Final: true}
}

// rejected returns the error of a token request to which the endpoint gave no token.
func rejected(status int, code string) *fault.Error {
	if !slices.Contains(errorCodes, code) {
		code = ""
	}
	return &fault.Error{Kind: fault.TokenRejected, HTTPStatus: status, Cause: &rejection{code, hint(status, code)}}
}

// rejection is the reason why the endpoint gave no token.
type rejection struct {
	code string // the OAuth 2.0 error, or ""
	hint string
}

func (r *rejection) Error() string { return r.hint }

// hint returns what a rejection means and what the operator can do about it.
func hint(status int, code string) string {
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
		return "there is no token in the response; check --token-url, down to the slash at its end"
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
