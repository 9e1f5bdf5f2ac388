package server_test

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"example.com/podero-facade/server"
)

// TestAnIssuerBehindAPrivateCA has a key server whose certificate no system trusts.
func TestAnIssuerBehindAPrivateCA(t *testing.T) {
	i := newIssuer(t)
	keys := httptest.NewTLSServer(i.server.Config.Handler)
	t.Cleanup(keys.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: keys.Certificate().Raw})
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, trusted := range map[string]bool{"trusted": true, "not trusted": false} {
		t.Run(name, func(t *testing.T) {
			s := start(t, newUpstream(t, good, nil), func(c *server.Config) {
				withJWT(i)(c)
				c.JWTJWKSURL = keys.URL + "/keys"
				if trusted {
					c.JWTCAFile = file
				}
			})
			for _, protocol := range protocols {
				got := protocol.lookup(t.Context(), t, s, theUser(), bearer(i.sign(t, i.keys["one"], nil, nil)))
				if (got.user != nil) != trusted {
					t.Errorf("%s: got %v %s", protocol.name, got.code, got.message)
				}
			}
		})
	}
}
