package check

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

// checkPodero tries the hosts, the token endpoint and the API.
func (r *runner) checkPodero(ctx context.Context, orgID string) {
	config := &r.config.Upstream
	transport, err := config.NewTokenTransport()
	if err != nil { // checkConfig has told of it
		r.refused["upstream-ca-file"] = true
		transport = &http.Transport{}
	}
	defer transport.CloseIdleConnections()
	r.exchange(ctx, transport, orgID)
}

// exchange tries what checkPodero does over a transport.
func (r *runner) exchange(ctx context.Context, transport *http.Transport, orgID string) {
	config := &r.config.Upstream
	upstream := newSite("upstream", "upstream-url", config.UpstreamURL)
	noUpstream := r.reach(ctx, upstream, transport)
	if config.UpstreamAuth == server.AuthPassthrough {
		r.skip("with --upstream-auth=passthrough tokens are callers' own, and there is none here", "token", "lookup")
		return
	}
	endpoint := newSite("token endpoint", "token-url", config.TokenURL)
	noEndpoint := noUpstream
	if r.refused[upstream.flag] || upstream.url.Scheme != endpoint.url.Scheme || address(upstream.url) != address(endpoint.url) {
		noEndpoint = r.reach(ctx, endpoint, transport)
	}
	token, ok := r.checkToken(ctx, transport, noEndpoint)
	switch {
	case noUpstream != "":
		r.skip(noUpstream, "lookup")
	case !ok:
		r.skip("there is no token", "lookup")
	default:
		key := podero.UserByExternalID(orgID, "podero-facade-check-"+rand.Text(), false)
		key.Token = token
		r.checkLookup(ctx, transport, key)
	}
}

// checkToken asks for an access token and reports whether there is one.
func (r *runner) checkToken(ctx context.Context, transport http.RoundTripper, because string) (secret.Text, bool) {
	const name = "token"
	if because == "" {
		because = r.refusal("upstream-auth", "token-request-format", "client-id", "client-secret-file", "scope")
	}
	if because != "" {
		r.skip(because, name)
		return secret.Text{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.UpstreamAttemptTimeout)
	defer cancel()
	witness := &witness{next: transport}
	endpoint, err := r.config.NewTokenEndpoint(witness)
	if err != nil {
		r.fail(name, err.Error(), "name a readable file with --client-secret-file")
		return secret.Text{}, false
	}
	token, lifetime, err := endpoint.Fetch(ctx)
	if err != nil {
		seen, remedy := split(err.Error(), mendToken(fault.From(err)))
		r.fail(name, seen, remedy)
		return secret.Text{}, false
	}
	r.pass(name, "a Bearer token for %v, asked for as %s, %s", lifetime, witness.format, witness.scope())
	return token, true
}

// mendToken returns what to do about a failure that does not say so itself.
func mendToken(failure *fault.Error) string {
	switch {
	case failure.Kind == fault.TokenUnavailable && failure.HTTPStatus == 0:
		return "check --token-url and what is on the way there; --upstream-attempt-timeout bounds it"
	case failure.Kind == fault.TokenUnavailable:
		return "try again later; if it lasts, ask Podero"
	default:
		return "check --token-url, --client-id, the client secret and --scope"
	}
}

// maxAnswer is how much of a token answer is looked at, in bytes.
const maxAnswer = 64 << 10

// witness sees how the last token request was written and what it was answered.
type witness struct {
	next   http.RoundTripper
	format string
	answer bytes.Buffer
}

// RoundTrip sends the request.
func (w *witness) RoundTrip(request *http.Request) (*http.Response, error) {
	w.format = "form"
	if media, _, _ := mime.ParseMediaType(request.Header.Get("Content-Type")); media == "application/json" {
		w.format = "JSON"
	}
	w.answer.Reset()
	response, err := w.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	seen := io.TeeReader(io.LimitReader(response.Body, maxAnswer), &w.answer)
	response.Body = body{io.MultiReader(seen, response.Body), response.Body}
	return response, nil
}

// body is read in another way than it is closed.
type body struct {
	io.Reader
	io.Closer
}

// scope says what scope the token has. Nothing else of the answer is told: the token is in it.
func (w *witness) scope() string {
	var answer struct {
		Scope *string `json:"scope"`
	}
	if json.Unmarshal(w.answer.Bytes(), &answer) != nil || answer.Scope == nil {
		return "scope not told"
	}
	return "scope " + strconv.Quote(*answer.Scope)
}

// checkLookup looks up a user that can't exist.
func (r *runner) checkLookup(ctx context.Context, transport *http.Transport, key podero.Key) {
	const name = "lookup"
	client, end, err := r.config.NewClient(transport)
	if err != nil {
		r.fail(name, err.Error(), "check --upstream-url")
		return
	}
	defer end()
	_, err = client.Find(ctx, key)
	if err == nil {
		r.pass(name, "a user was found in %s", key.OrgID)
		return
	}
	failure := fault.From(err)
	switch failure.Kind {
	case fault.UserNotFound:
		r.pass(name, "404 with JSON: the base URL is right, and %s has no such user, as it should", key.OrgID)
	case fault.UpstreamForbidden:
		r.pass(name, "403 with JSON: the base URL is right; these credentials may not read %s", key.OrgID)
	default:
		r.fail(name, failure.Error(), mendLookup(failure))
	}
}

// mendLookup returns what to do about a lookup that failed.
func mendLookup(failure *fault.Error) string {
	switch failure.Kind {
	case fault.UpstreamUnexpectedStatus, fault.UpstreamContractViolation:
		return "check --upstream-url: this is not how the base URL of Podero's Partner API answers"
	case fault.UpstreamUnauthenticated:
		return "check that --token-url and --upstream-url are of the same environment, and what rights the credentials have"
	case fault.UpstreamRejectedRequest:
		return "check --org-id, and --upstream-url"
	case fault.UpstreamRateLimited:
		return fmt.Sprintf("try again in %v", failure.RetryAfter)
	case fault.UpstreamTimeout:
		return "try again; if it lasts, give more --upstream-attempt-timeout, or ask Podero"
	default:
		return "try again; if it lasts, check --upstream-url and what is on the way there, or ask Podero"
	}
}

// checkKeys fetches the keys of callers' tokens, if callers have tokens.
func (r *runner) checkKeys(ctx context.Context) {
	const name = "caller keys"
	if !slices.Contains(r.config.CallerAuth, server.CallerJWT) {
		return
	}
	if because := r.refusal("caller-auth", "jwt-issuer", "jwt-jwks-url", "jwt-ca-file", "upstream-attempt-timeout"); because != "" {
		r.skip(because, name)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.UpstreamAttemptTimeout)
	defer cancel()
	usable, ignored, err := r.config.CountKeys(ctx)
	if err == nil && usable == 0 {
		err = errors.New("the issuer has no usable key; check --jwt-jwks-url and --jwt-issuer")
	}
	if err != nil {
		seen, remedy := split(err.Error(), "check --jwt-jwks-url, --jwt-issuer and what is on the way there")
		r.fail(name, seen, remedy)
		return
	}
	r.pass(name, "usable: %d, ignored: %d", usable, ignored)
}
