package check

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/sandbox"
	"example.com/podero-facade/server/secret"
)

// net/http reads HTTPS_PROXY once in a process and never uses it for loopback, so these tests set the proxy
// where it would.
func TestAProxyStandsInForDirectConnections(t *testing.T) {
	upstream, err := sandbox.New(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	proxy, closed := httptest.NewServer(upstream), httptest.NewServer(upstream)
	defer proxy.Close()
	closed.Close()
	for name, c := range map[string]struct {
		proxy string
		want  []string
	}{
		"a proxy": {proxy.URL, []string{
			`✓ upstream proxy: connected to 127\.0\.0\.1:\d+ in \S+, the way to podero\.invalid by HTTPS_PROXY or HTTP_PROXY`,
			`✓ token: .*`, `✓ lookup: 403 .*`}},
		"a closed proxy": {closed.URL, []string{
			`✗ upstream proxy: dial tcp .*refused; check HTTPS_PROXY, HTTP_PROXY and NO_PROXY`,
			`- token: not tried, because there is no connection to the upstream`, `- lookup: not tried, because .*`}},
	} {
		t.Run(name, func(t *testing.T) {
			var config server.Config
			if err := kong.ApplyDefaults(&config); err != nil {
				t.Fatal(err)
			}
			config.UpstreamURL, config.TokenURL = "http://podero.invalid"+sandbox.APIPath, "http://podero.invalid"+sandbox.TokenPath
			config.ClientID, config.ClientSecret = sandbox.ClientID, secret.New(sandbox.ClientSecret)
			address, err := url.Parse(strings.Replace(c.proxy, "://", "://user:hunter2@", 1))
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{Proxy: http.ProxyURL(address)}
			defer transport.CloseIdleConnections()
			var lines []string
			r := &runner{config: &config, refused: map[string]bool{}, report: func(s Step) { lines = append(lines, s.String()) }}
			r.exchange(t.Context(), transport, "00000000-0000-0000-0000-000000000000")

			const through = `- upstream (DNS|TCP|TLS): not tried, because it goes through a proxy`
			want := append([]string{through, through, through}, c.want...)
			text := strings.Join(lines, "\n")
			if !regexp.MustCompile("^" + strings.Join(want, "\n") + "$").MatchString(text) {
				t.Errorf("%s\nis not\n%s", text, strings.Join(want, "\n"))
			}
		})
	}
}

func TestAddressesHaveTheirSchemesPorts(t *testing.T) {
	for location, want := range map[string]string{
		"https://a":       "a:443",
		"http://a":        "a:80",
		"socks5://a":      "a:1080",
		"http://[::1]:1/": "[::1]:1",
	} {
		u, err := url.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		if got := address(u); got != want {
			t.Errorf("%s: %s, want %s", location, got, want)
		}
	}
}
