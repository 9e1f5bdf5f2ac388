package server_test

import (
	"net"
	"net/http"
	"testing"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/secret"
)

// TestRequestsAfterDNSRebindingAreRefused sends requests as a browser does for a page whose name resolves to this
// machine.
func TestRequestsAfterDNSRebindingAreRefused(t *testing.T) {
	i := newIssuer(t)
	for name, c := range map[string]struct {
		change  func(*server.Config)
		refused bool // whether REST refuses it
	}{
		"open to this machine": {nil, true},
		"with tokens":          {withJWT(i), false},
		"with callers' own tokens": {func(c *server.Config) {
			c.UpstreamAuth, c.ClientID, c.ClientSecret = server.AuthPassthrough, "", secret.Text{}
		}, false},
		"open to CORS": {func(c *server.Config) { c.CORSAllowedOrigin = []string{"http://evil.example"} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, good, nil)
			s := start(t, u, c.change)
			for _, port := range []net.Addr{s.HTTPAddr(), s.AdminAddr()} {
				for _, path := range []string{lookupPath, "/openapi.json", "/docs", "/", "/metrics", "/livez", "/debug/pprof/", "/debug/pprof/cmdline"} {
					for _, method := range []string{http.MethodGet, http.MethodOptions} {
						request, err := http.NewRequestWithContext(t.Context(), method, "http://"+port.String()+path, nil)
						if err != nil {
							t.Fatal(err)
						}
						request.Host = "evil.example:8080"
						request.Header.Set("Origin", "http://evil.example")
						request.Header.Set("Access-Control-Request-Method", "GET")
						response, err := s.rest.Do(request)
						if err != nil {
							t.Fatal(err)
						}
						_ = response.Body.Close()
						refused := c.refused || port == s.AdminAddr()
						if got := response.StatusCode == http.StatusForbidden; got != refused {
							t.Errorf("%s http://%s%s: status %d, refused should be %v", method, port, path, response.StatusCode, refused)
						}
					}
				}
			}
			if c.refused && len(u.apiRequests()) > 0 {
				t.Error("a lookup reached Podero")
			}
		})
	}
}
