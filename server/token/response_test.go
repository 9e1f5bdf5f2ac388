package token

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/podero-facade/server/fault"
)

// read reads a response with a status, a content type and a body.
func read(status int, contentType, text string) (token string, lifetime time.Duration, err error) {
	secret, lifetime, err := readResponse(&http.Response{
		StatusCode: status,
		Header:     http.Header{"Content-Type": {contentType}},
		Body:       io.NopCloser(strings.NewReader(text)),
	})
	return secret.Reveal(), lifetime, err
}

func TestLifetimes(t *testing.T) {
	const rejected = -1
	for expiresIn, want := range map[string]time.Duration{
		``: 5 * time.Minute, `null`: 5 * time.Minute, `""`: 5 * time.Minute, `" "`: 5 * time.Minute,
		`1`: time.Second, `1.5`: 1500 * time.Millisecond, `36000`: 10 * time.Hour, `36000.0`: 10 * time.Hour, `3.6e4`: 10 * time.Hour,
		`"36000"`: 10 * time.Hour, `"36000.0"`: 10 * time.Hour, `" 36000 "`: 10 * time.Hour,
		`86400`: 24 * time.Hour, `86401`: 24 * time.Hour, `1e300`: 24 * time.Hour, `9223372036854775808`: 24 * time.Hour, `"1e300"`: 24 * time.Hour,
		`0`: rejected, `0.999`: rejected, `0.000000001`: rejected, `-1`: rejected, `-1e300`: rejected, `"-1"`: rejected, `1e-400`: rejected,
		`1e400`: rejected, `"inf"`: rejected, `"Infinity"`: rejected, `"NaN"`: rejected, `"0x10"`: rejected, `"0x1p4"`: rejected, `"1_000"`: rejected,
		`"soon"`: rejected, `"36000s"`: rejected, `true`: rejected, `{}`: rejected, `[36000]`: rejected,
	} {
		member := ""
		if expiresIn != "" {
			member = `,"expires_in":` + expiresIn
		}
		token, got, err := read(200, "application/json", `{"access_token":"t"`+member+`}`)
		if want == rejected {
			if !fault.Is(err, fault.TokenRejected) {
				t.Errorf("%s: lifetime %v, error %v, want TOKEN_REJECTED", expiresIn, got, err)
			}
			continue
		}
		if err != nil || token != "t" || got != want {
			t.Errorf("%s: %q, lifetime %v, error %v, want %v", expiresIn, token, got, err, want)
		}
	}
}

func TestFormsOfAResponse(t *testing.T) {
	const (
		bom  = "\ufeff"
		good = `{"access_token":"t","expires_in":60,"token_type":"Bearer"}`
		form = "access_token=t&expires_in=60.5&token_type=bearer"
	)
	for name, c := range map[string]struct {
		status            int
		contentType, body string
		want              string // the token, or the error
	}{
		"JSON":                         {200, "application/json", good, "t"},
		"JSON, called a text":          {200, "text/plain; charset=utf-8", good, "t"},
		"JSON, called HTML":            {200, "text/html", good, "t"},
		"JSON, called a form":          {200, formType, good, "t"},
		"JSON, called nothing":         {200, "", good, "t"},
		"JSON with a BOM":              {200, "application/json", bom + good, "t"},
		"JSON with white space":        {200, "application/json", "\r\n " + good + "\n", "t"},
		"another status of success":    {201, "application/json", good, "t"},
		"a form":                       {200, formType, form, "t"},
		"a form without a lifetime":    {200, formType, "access_token=t", "t"},
		"a form, called a text":        {200, "text/plain", form, "t"},
		"a form, called HTML":          {200, "text/html", form, "TOKEN_REJECTED (HTTP status 200): there is no token"},
		"a form with a bad lifetime":   {200, formType, "access_token=t&expires_in=x", "TOKEN_REJECTED (HTTP status 200): expires_in is not"},
		"no type":                      {200, "application/json", `{"access_token":"t"}`, "t"},
		"null type":                    {200, "application/json", `{"access_token":"t","token_type":null}`, "t"},
		"another type":                 {200, "application/json", `{"access_token":"t","token_type":"mac"}`, "TOKEN_REJECTED (HTTP status 200): the token is not of type Bearer"},
		"16 KiB":                       {200, "application/json", `{"access_token":"` + strings.Repeat("t", 16<<10) + `"}`, strings.Repeat("t", 16<<10)},
		"more than 16 KiB":             {200, "application/json", `{"access_token":"` + strings.Repeat("t", 16<<10+1) + `"}`, "TOKEN_REJECTED (HTTP status 200): the token has more"},
		"a blank in the token":         {200, "application/json", `{"access_token":"t t"}`, "TOKEN_REJECTED (HTTP status 200): the token has characters"},
		"a number as the token":        {200, "application/json", `{"access_token":1}`, "TOKEN_REJECTED (HTTP status 200): there is no token"},
		"an error in a success":        {200, "application/json", `{"access_token":"t","error":"invalid_scope"}`, "TOKEN_REJECTED (HTTP status 200): invalid_scope"},
		"more after the object":        {200, "application/json", good + "x", "TOKEN_REJECTED (HTTP status 200): there is no token"},
		"an array":                     {200, "application/json", "[" + good + "]", "TOKEN_REJECTED (HTTP status 200): there is no token"},
		"nesting":                      {200, "application/json", strings.Repeat(`{"a":`, 1<<17), "TOKEN_REJECTED (HTTP status 200): there is no token"},
		"an error":                     {400, "application/json", `{"error":"invalid_scope"}`, "TOKEN_REJECTED (HTTP status 400): invalid_scope"},
		"an error, called HTML":        {400, "text/html", bom + `{"error":"invalid_scope"}`, "TOKEN_REJECTED (HTTP status 400): invalid_scope"},
		"an error as a form":           {400, formType, "error=invalid_scope", "TOKEN_REJECTED (HTTP status 400): invalid_scope"},
		"an error of its own":          {400, "application/json", `{"error":"hunter2"}`, "TOKEN_REJECTED (HTTP status 400): there is no token"},
		"a token with an error":        {401, "application/json", good, "TOKEN_REJECTED (HTTP status 401): the client credentials are wrong"},
		"a redirect":                   {302, "text/html", "", "TOKEN_REJECTED (HTTP status 302): the token URL redirects"},
		"not modified":                 {304, "", "", "TOKEN_REJECTED (HTTP status 304): the token URL redirects"},
		"too many requests":            {429, "application/json", good, "TOKEN_UNAVAILABLE (HTTP status 429)"},
		"a failure":                    {599, "application/json", good, "TOKEN_UNAVAILABLE (HTTP status 599)"},
		"a status that does not exist": {600, "application/json", good, "TOKEN_REJECTED (HTTP status 600): there is no token"},
	} {
		token, _, err := read(c.status, c.contentType, c.body)
		got := token
		if err != nil {
			got = err.Error()
		}
		if got != c.want && (err == nil || !strings.HasPrefix(got, c.want) || strings.Contains(got, "hunter2")) {
			t.Errorf("%s: %.200q, want %.200q", name, got, c.want)
		}
	}
}

// FuzzTokenResponse reads any response: whatever it has, a token that comes out of it can be sent and lives between a
// second and a day.
func FuzzTokenResponse(f *testing.F) {
	for _, text := range []string{
		`{"access_token":"t","expires_in":36000,"token_type":"Bearer"}`, `{"access_token":"t","expires_in":0.000000001}`,
		`{"access_token":"t","expires_in":"1e400"}`, "\ufeff{}", `{"error":"invalid_client"}`, "access_token=t&expires_in=60", "",
	} {
		f.Add(200, "application/json", text)
		f.Add(200, formType, text)
		f.Add(400, "", text)
	}
	f.Fuzz(func(t *testing.T, status int, contentType, text string) {
		token, lifetime, err := read(status, contentType, text)
		if err != nil {
			if token != "" || lifetime != 0 {
				t.Errorf("%q, %v with the error %v", token, lifetime, err)
			}
			if !fault.Is(err, fault.TokenRejected) && !fault.Is(err, fault.TokenUnavailable) {
				t.Errorf("error %v", err)
			}
			return
		}
		if !isBearer(token) || len(token) > maxToken || lifetime < minLifetime || lifetime > maxLifetime {
			t.Errorf("a token of %d bytes that lives %v", len(token), lifetime)
		}
	})
}
