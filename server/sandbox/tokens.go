package sandbox

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// tokens issues access tokens and knows which are valid.
type tokens struct {
	lifetime time.Duration

	mu    sync.Mutex
	until map[string]time.Time // of each token that was issued and not revoked
}

func newTokens(lifetime time.Duration) *tokens {
	return &tokens{lifetime: lifetime, until: map[string]time.Time{}}
}

func (t *tokens) valid(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return time.Now().Before(t.until[token])
}

// issue is the token endpoint, for client credentials alone. It reads form and JSON bodies.
func (t *tokens) issue(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if !authenticated(r) {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	if grantType(r) != "client_credentials" {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type"})
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": t.add(),
		"expires_in":   int(t.lifetime.Seconds()),
		"token_type":   "Bearer",
		"scope":        "read write",
	})
}

func (t *tokens) add() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for token, until := range t.until {
		if now.After(until) {
			delete(t.until, token)
		}
	}
	token := rand.Text()
	t.until[token] = now.Add(t.lifetime)
	return token
}

// revoke ends a token's life (RFC 7009): the form field token names it.
func (t *tokens) revoke(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "Method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if !authenticated(r) {
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.until, r.PostFormValue("token"))
}

// authenticated reports whether a request has the client's credentials in its Authorization header, form
// encoded as RFC 6749, section 2.3.1, wants them.
func authenticated(r *http.Request) bool {
	rawID, rawSecret, _ := r.BasicAuth()
	id, errID := url.QueryUnescape(rawID)
	secret, errSecret := url.QueryUnescape(rawSecret)
	return errID == nil && errSecret == nil && id == ClientID && secret == ClientSecret
}

func grantType(r *http.Request) string {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return ""
	}
	switch strings.ToLower(media) {
	case "application/x-www-form-urlencoded":
		values, err := url.ParseQuery(string(body))
		if err != nil {
			return ""
		}
		return values.Get("grant_type")
	case "application/json":
		var object struct {
			GrantType string `json:"grant_type"`
		}
		if json.Unmarshal(body, &object) != nil {
			return ""
		}
		return object.GrantType
	default:
		return ""
	}
}
