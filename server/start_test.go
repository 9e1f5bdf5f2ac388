package server_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"example.com/podero-facade/server"
	"example.com/podero-facade/server/secret"
)

func TestTheFirstLogLineSaysHowTheServiceIsSecured(t *testing.T) {
	u := newUpstream(t, good, nil)
	for name, c := range map[string]struct {
		change func(*server.Config)
		want   map[string]any
	}{
		"as it is": {nil, map[string]any{"caller_policy": false, "tls": "off", "cache": "off", "upstream_auth": "client-credentials", "insecure": false}},
		"passthrough, insecure, a cache": {func(c *server.Config) {
			passthrough(c)
			c.CacheTTL, c.Insecure = time.Minute, true
		}, map[string]any{"cache": "memory", "upstream_auth": "passthrough", "insecure": true}},
		"a shared cache": {func(c *server.Config) {
			c.CacheTTL, c.CacheRedisURL = time.Minute, secret.New("redis://:hunter2@127.0.0.1:1")
		}, map[string]any{"cache": "memory, redis"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, u, c.change)
			lines := strings.Split(s.log.String(), "\n")
			var first map[string]any
			if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
				t.Fatalf("%v: %s", err, lines[0])
			}
			if first["msg"] != "starting" || len(first["caller_auth"].([]any)) != 1 {
				t.Errorf("the first line is %s", lines[0])
			}
			for key, want := range c.want {
				if first[key] != want {
					t.Errorf("%s = %v, want %v", key, first[key], want)
				}
			}
			if warned := strings.Contains(s.log.String(), `"level":"WARN","msg":"configuration","warning":"--insecure (PODERO_FACADE_INSECURE): `); warned != (c.want["insecure"] == true) {
				t.Errorf("warned of --insecure: %v", warned)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	u := newUpstream(t, good, nil)
	for name, c := range map[string]struct {
		change func(*server.Config)
		want   string // of the one warning
	}{
		"as it is":     {func(*server.Config) {}, ""},
		"insecure":     {func(c *server.Config) { c.Insecure = true }, "--insecure"},
		"another host": {func(c *server.Config) { c.TokenURL = "https://app.podero.com/oauth2/token/" }, "--token-url (PODERO_FACADE_TOKEN_URL)"},
		"another port": {func(c *server.Config) { c.TokenURL = "http://127.0.0.1:1/token" }, ""},
		"another case": {func(c *server.Config) {
			c.UpstreamURL, c.TokenURL = "https://App.Podero.com/api", "https://app.podero.com/t"
		}, ""},
		"no token is fetched": {func(c *server.Config) { passthrough(c); c.TokenURL = "https://app.podero.com/" }, ""},
	} {
		config := settings(u)
		c.change(&config)
		got := config.Warnings()
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestTheRefusalToListenBeyondLoopbackNamesEveryRemedy(t *testing.T) {
	config := settings(newUpstream(t, good, nil))
	config.GRPCListen = "0.0.0.0:9090"
	err := config.Check()
	for _, want := range []string{"listen on 127.0.0.1", "--caller-auth=mtls", "--caller-auth=jwt", "--upstream-auth=passthrough", "--insecure"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
