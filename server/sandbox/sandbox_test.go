package sandbox_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/podero-facade/server/sandbox"
)

const lifetime = time.Hour

func newSandbox(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	s, err := sandbox.New(lifetime)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// send sends a request with the client's credentials, which change may replace.
func send(s *sandbox.Sandbox, method, target, contentType, body string, change func(*http.Request)) *http.Response {
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	request.Header.Set("Content-Type", contentType)
	request.SetBasicAuth("sandbox", "sandbox")
	if change != nil {
		change(request)
	}
	recorder := httptest.NewRecorder()
	s.ServeHTTP(recorder, request)
	return recorder.Result()
}

func body(t *testing.T, response *http.Response) string {
	t.Helper()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
	form     = "grant_type=client_credentials"
	jsonBody = `{"grant_type":"client_credentials"}`
	tokenURL = "/oauth2/token/"
	userURL  = "/api/partners/v2.0/org/" + sandbox.OrgID + "/users/by-ext-id/"
)

// newToken asks for a token.
func newToken(t *testing.T, s *sandbox.Sandbox) string {
	t.Helper()
	var answer struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
		TokenType   string `json:"token_type"`
	}
	response := send(s, http.MethodPost, tokenURL, formType, form, nil)
	if err := json.Unmarshal([]byte(body(t, response)), &answer); err != nil {
		t.Fatal(err)
	}
	if answer.AccessToken == "" || answer.ExpiresIn != int(lifetime.Seconds()) || answer.TokenType != "Bearer" {
		t.Errorf("answer %+v", answer)
	}
	return answer.AccessToken
}

func TestTheTokenEndpoint(t *testing.T) {
	s := newSandbox(t)
	for name, c := range map[string]struct {
		method, target, contentType, body string
		change                            func(*http.Request)
		status                            int
		want                              string
	}{
		"form":                  {"POST", tokenURL, formType, form, nil, 200, "access_token"},
		"JSON":                  {"POST", tokenURL, jsonType, jsonBody, nil, 200, "access_token"},
		"JSON called form":      {"POST", tokenURL, formType, jsonBody, nil, 400, "unsupported_grant_type"},
		"form called JSON":      {"POST", tokenURL, jsonType, form, nil, 400, "unsupported_grant_type"},
		"another media type":    {"POST", tokenURL, "text/plain", form, nil, 400, "unsupported_grant_type"},
		"no media type":         {"POST", tokenURL, "", form, nil, 400, "unsupported_grant_type"},
		"broken form":           {"POST", tokenURL, formType, "%zz", nil, 400, "unsupported_grant_type"},
		"another grant":         {"POST", tokenURL, formType, "grant_type=password", nil, 400, "unsupported_grant_type"},
		"a wrong secret":        {"POST", tokenURL, formType, form, func(r *http.Request) { r.SetBasicAuth("sandbox", "x") }, 401, "invalid_client"},
		"no credentials":        {"POST", tokenURL, formType, form, func(r *http.Request) { r.Header.Del("Authorization") }, 401, "invalid_client"},
		"escaped credentials":   {"POST", tokenURL, formType, form, func(r *http.Request) { r.SetBasicAuth("s%61ndbox", "sandbox") }, 200, "access_token"},
		"GET":                   {"GET", tokenURL, formType, "", nil, 405, ""},
		"without the slash":     {"POST", "/oauth2/token", formType, form, nil, 404, "<html"},
		"revoke by GET":         {"GET", "/oauth2/revoke_token/", formType, "", nil, 405, ""},
		"revoke, wrong secret":  {"POST", "/oauth2/revoke_token/", formType, "", func(r *http.Request) { r.SetBasicAuth("sandbox", "x") }, 401, "invalid_client"},
		"revoke, unknown token": {"POST", "/oauth2/revoke_token/", formType, "token=x", nil, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			response := send(s, c.method, c.target, c.contentType, c.body, c.change)
			if got := body(t, response); response.StatusCode != c.status || !strings.Contains(got, c.want) {
				t.Errorf("%d %s", response.StatusCode, got)
			}
		})
	}
}

func TestTheAPI(t *testing.T) {
	s := newSandbox(t)
	token := newToken(t, s)
	for name, c := range map[string]struct {
		method, target string
		status         int
		want           string
	}{
		"a user":                   {"GET", userURL + "134681893870", 200, `"first_name"`},
		"a user without anything":  {"GET", userURL + "all-null", 200, `null`},
		"a user with zeros":        {"GET", userURL + "zero-not-null", 200, `""`},
		"an escaped ID":            {"GET", userURL + url.PathEscape("a/b c%é"), 200, `"a/b c%é"`},
		"upper case":               {"GET", strings.Replace(userURL, sandbox.OrgID, strings.ToUpper(sandbox.OrgID), 1) + "all-null", 200, `null`},
		"a deleted user":           {"GET", userURL + "deleted", 404, `"detail":"Not Found"`},
		"a deleted user, asked":    {"GET", userURL + "deleted?include_deleted=Yes", 200, `"deleted"`},
		"a deleted user, unasked":  {"GET", userURL + "deleted?include_deleted=off", 404, `"detail"`},
		"not a boolean":            {"GET", userURL + "deleted?include_deleted=2", 422, `"loc":["query","include_deleted"]`},
		"an empty boolean":         {"GET", userURL + "deleted?include_deleted=", 422, `"loc":["query","include_deleted"]`},
		"nobody":                   {"GET", userURL + "nobody", 404, `"detail":"Not Found"`},
		"not a UUID":               {"GET", "/api/partners/v2.0/org/x/users/by-ext-id/x", 422, `"loc":["path","org_id"]`},
		"another organization":     {"GET", "/api/partners/v2.0/org/00000000-0000-0000-0000-000000000000/users/by-ext-id/x", 403, `"detail":"Forbidden"`},
		"another method":           {"POST", userURL + "all-null", 405, "Method not allowed"},
		"another path of the API":  {"GET", "/api/partners/v2.0/org/", 404, "<html"},
		"a slash that is not part": {"GET", userURL + "a/b", 404, "<html"},
		"another path":             {"GET", "/", 404, "<html"},
	} {
		t.Run(name, func(t *testing.T) {
			response := send(s, c.method, c.target, "", "", func(r *http.Request) { r.Header.Set("Authorization", "bearer "+token) })
			if got := body(t, response); response.StatusCode != c.status || !strings.Contains(got, c.want) {
				t.Errorf("%d %s", response.StatusCode, got)
			}
		})
	}
}

func TestTokensExpireAndCanBeRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSandbox(t)
		status := func(token string) int {
			return send(s, http.MethodGet, userURL+"all-null", "", "", func(r *http.Request) {
				r.Header.Set("Authorization", "Bearer "+token)
			}).StatusCode
		}
		revoked, kept := newToken(t, s), newToken(t, s)
		send(s, http.MethodPost, "/oauth2/revoke_token/", formType, "token="+revoked, nil)
		if status(revoked) != 401 || status(kept) != 200 || status("") != 401 || status("x") != 401 {
			t.Error("a revoked or unknown token is taken, or another is not")
		}
		time.Sleep(lifetime)
		if newToken(t, s); status(kept) != 401 {
			t.Error("a token is taken after its time")
		}
	})
}
