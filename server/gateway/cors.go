package gateway

import (
	"net/http"
	"slices"
)

// The headers that a page may send and read beside those that the Fetch standard always allows.
const (
	corsRequestHeaders  = "Authorization, Grpc-Timeout, Traceparent, X-Request-Id"
	corsResponseHeaders = "Age, Retry-After, WWW-Authenticate, X-Cache, X-Request-Id"
	corsMaxAge          = "600" // seconds
)

// AllowOrigins lets pages of some origins call the API from a browser (Fetch standard, section 3.3). Other origins get
// no header that would let them.
func (h *Handler) AllowOrigins(origins []string) { h.origins = origins }

// cors adds what lets the page of a request read the response. It reports whether the request was a preflight, to which
// that is the whole response.
func (h *Handler) cors(w http.ResponseWriter, r *http.Request) (preflight bool) {
	header := w.Header()
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(h.origins, origin) {
		return false
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", corsResponseHeaders)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	header.Set("Access-Control-Allow-Methods", "GET, HEAD")
	header.Set("Access-Control-Allow-Headers", corsRequestHeaders)
	header.Set("Access-Control-Max-Age", corsMaxAge)
	w.WriteHeader(http.StatusNoContent)
	return true
}
