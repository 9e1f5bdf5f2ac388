package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// goText matches what package fmt, strconv, url and others print for programmers.
var goText = regexp.MustCompile(`strconv|\*url|url\.Error|\*[a-z]+\.[A-Z]|%!|0x[0-9a-f]{6}|<nil>|unmarshal|reflect|parse "|invalid syntax|goroutine`)

// wrongSetting is a value that both serve and check must refuse.
type wrongSetting struct {
	name   string            // of the setting that the messages must name
	values map[string]string // of variables
	args   []string
}

// TestServeAndCheckRefuseTheSame has values of each kind of setting.
func TestServeAndCheckRefuseTheSame(t *testing.T) {
	directory := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing, empty, text := filepath.Join(directory, "missing"), file("empty", ""), file("text", "hunter2\x00")
	policy := file("policy", "callers:\n  - subjects: hunter2\n  - hunter2\n")
	var cases []wrongSetting
	variable := func(name string, values ...string) {
		for _, value := range values {
			cases = append(cases, wrongSetting{name, map[string]string{name: value}, nil})
		}
	}
	flag := func(name string, args ...string) {
		cases = append(cases, wrongSetting{"--" + name, nil, args})
	}
	variable("OTEL_BSP_MAX_QUEUE_SIZE", "-1", "9999999999999", "hunter2")
	variable("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-1")
	variable("OTEL_BSP_SCHEDULE_DELAY", "0")
	variable("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "http://user:hunter2@127.0.0.1:9", "%")
	variable("OTEL_EXPORTER_OTLP_HEADERS", "x-key: hunter2", "x-key=hunter2%")
	variable("OTEL_EXPORTER_OTLP_CERTIFICATE", missing, empty)
	variable("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")
	variable("OTEL_EXPORTER_OTLP_COMPRESSION", "hunter2")
	variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "hunter2")
	variable("OTEL_TRACES_EXPORTER", "hunter2")
	variable("OTEL_TRACES_SAMPLER", "hunter2")
	variable("OTEL_METRIC_EXPORT_INTERVAL", "hunter2")
	variable("OTEL_ATTRIBUTE_COUNT_LIMIT", "hunter2")
	variable("OTEL_RESOURCE_ATTRIBUTES", "hunter2")
	for _, url := range []string{
		"hunter2", "redis:hunter2", "redis://hunter2@127.0.0.1", "redis://:hunter2@127.0.0.1#x", "redis://:hunter2@127.0.0.1/x", "redis://:hunter2@127.0.0.1/0/1",
		"redis://:hunter2@127.0.0.1?tls=off", "redis://:hunter2@127.0.0.1:port", "redis://:hunter2@redis.example", "rediss://:hunter2@", "redis://:hunter2@127.0.0.1/1?addr=127.0.0.1",
	} {
		cases = append(cases, wrongSetting{"--cache-redis-url (PODERO_FACADE_CACHE_REDIS_URL)",
			map[string]string{"PODERO_FACADE_CACHE_REDIS_URL": url, "PODERO_FACADE_CACHE_TTL": "1m"}, nil})
	}
	variable("PODERO_FACADE_CLIENT_ID", "", "hunter2\x01", "\uFEFFhunter2")
	variable("PODERO_FACADE_CLIENT_SECRET", "", "hunter2\x7f", "\uFEFFhunter2")
	variable("PODERO_FACADE_UPSTREAM_URL", "", "hunter2", "http://127.0.0.1:99999/hunter2", "http://user:hunter2@127.0.0.1", "http://127.0.0.1/?key=hunter2", "https://:443/hunter2", "http://podero.example/hunter2", "http://127.0.0.1:1\n/hunter2")
	variable("PODERO_FACADE_TOKEN_URL", "ftp://127.0.0.1/hunter2", "%hunter2", "http://podero.example/hunter2")
	variable("PODERO_FACADE_UPSTREAM_TIMEOUT", "10", "soon", "-1s", "")
	variable("PODERO_FACADE_UPSTREAM_MAX_ATTEMPTS", "three", "0", "9999999999999999999999")
	variable("PODERO_FACADE_LOG_LEVEL", "loud")
	variable("PODERO_FACADE_LOG_FORMAT", "xml")
	variable("PODERO_FACADE_INSECURE", "perhaps")
	variable("PODERO_FACADE_CALLER_AUTH", "", "none,mtls", "basic")
	variable("PODERO_FACADE_CALLER_POLICY_FIEL", "x")
	variable("PODERO_FACADE_GRPC_LISTEN", "", "9090", "127.0.0.1:99999", "127.0.0.1:port", "0.0.0.0:9090")
	variable("PODERO_FACADE_AUDIT_LOG", filepath.Join(missing, "audit"), directory)
	variable("PODERO_FACADE_UPSTREAM_CA_FILE", missing, empty)
	variable("PODERO_FACADE_TOKEN_REQUEST_FORMAT", "xml")
	variable("PODERO_FACADE_CORS_ALLOWED_ORIGIN", "*")
	flag("client-secret-file", "--client-secret-file="+text)
	flag("caller-policy-file", "--caller-auth=jwt", "--jwt-issuer=http://127.0.0.1:1", "--jwt-audience=x", "--caller-policy-file="+policy)
	flag("tls-cert-file", "--tls-cert-file="+empty, "--tls-key-file="+missing)
	flag("jwt-jwks-url", "--caller-auth=jwt", "--jwt-issuer=x", "--jwt-audience=x", "--jwt-jwks-url=hunter2")
	flag("shutdown-timeout", "--shutdown-timeout=-1s")
	if len(cases) < 40 {
		t.Fatalf("%d cases, want 40", len(cases))
	}
	for i, c := range cases {
		t.Run(fmt.Sprint(i, " ", c.name), func(t *testing.T) {
			configureSandbox(t)
			t.Setenv("PODERO_FACADE_ADMIN_LISTEN", "127.0.0.1:0")
			t.Setenv("PODERO_FACADE_GRPC_LISTEN", "127.0.0.1:0")
			t.Setenv("PODERO_FACADE_HTTP_LISTEN", "127.0.0.1:0")
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
			for name, value := range c.values {
				t.Setenv(name, value)
			}
			if strings.HasSuffix(c.name, "client-secret-file") {
				t.Setenv("PODERO_FACADE_CLIENT_SECRET", "")
			}
			for command, mark := range map[string]string{"serve": "podero-facade: ", "check": "✗ "} {
				refused := refusals(t, command, c.args, mark)
				if !strings.Contains(refused, c.name) {
					t.Errorf("%s %v: %s reports %q, want %s", c.values, c.args, command, refused, c.name)
				}
				if got := goText.FindString(refused); got != "" {
					t.Errorf("%v %v: %s reports %q in %s", c.values, c.args, command, got, refused)
				}
				if strings.Contains(refused, "hunter2") {
					t.Errorf("%s: %s reports %s", c.name, command, refused)
				}
			}
		})
	}
}

// refusals runs a command, which must fail, and returns its lines that begin with a mark.
func refusals(t *testing.T, command string, args []string, mark string) string {
	t.Helper()
	p := launch(t, append([]string{command}, args...)...)
	p.err.find(t, `(?m)^podero-facade: .*\n`)
	if status := p.stop(); status == 0 {
		t.Errorf("%s: exit status 0", command)
	}
	var refused strings.Builder
	for line := range strings.Lines(p.out.String() + p.err.String()) {
		if strings.HasPrefix(line, mark) && !strings.Contains(line, ": failed: ") {
			refused.WriteString(line)
		}
	}
	return refused.String()
}
