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

// CORS lets pages of the given origins call a handler from a browser (Fetch standard, section 3.3). Other
// origins get no header that would let them.
func CORS(origins []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin == "" || !slices.Contains(origins, origin) {
			next.ServeHTTP(w, r)
			return
		}
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Expose-Headers", corsResponseHeaders)
		if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			next.ServeHTTP(w, r)
			return
		}
		header.Set("Access-Control-Allow-Methods", "GET, HEAD")
		header.Set("Access-Control-Allow-Headers", corsRequestHeaders)
		header.Set("Access-Control-Max-Age", corsMaxAge)
		header.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	})
}
