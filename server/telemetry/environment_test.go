package telemetry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// environ is what a test puts into the environment.
type environ map[string]string

func (e environ) set(t *testing.T) {
	t.Helper()
	for _, v := range variables() {
		t.Setenv(v.name, "")
	}
	for name, value := range e {
		t.Setenv(name, value)
	}
}

// exporting returns an environment in which traces and metrics are exported, with some variables beside.
func exporting(more ...string) environ {
	e := environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
	for pair := range slices.Chunk(more, 2) {
		e[pair[0]] = pair[1]
	}
	return e
}

// names returns the variables that errors begin with.
func names(errors []error) (names []string) {
	for _, err := range errors {
		name, _, _ := strings.Cut(err.Error(), ": ")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestValuesThatTheSDKWouldMisread(t *testing.T) {
	directory := t.TempDir()
	missing, empty := filepath.Join(directory, "missing"), filepath.Join(directory, "empty")
	if err := os.WriteFile(empty, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, values := range map[string][]string{
		"OTEL_SDK_DISABLED":                                        {"yes", "1"},
		"OTEL_TRACES_EXPORTER":                                     {"zipkin", "otlp,console"},
		"OTEL_METRICS_EXPORTER":                                    {"prometheus"},
		"OTEL_BSP_MAX_QUEUE_SIZE":                                  {"-1", "0", "9999999999999", "99999999999999999999", "many", " 5", "5.0"},
		"OTEL_BSP_MAX_EXPORT_BATCH_SIZE":                           {"-1", "0", "2049", "9999999999999"},
		"OTEL_BSP_SCHEDULE_DELAY":                                  {"0", "-1", "5s", "9999999999999"},
		"OTEL_BSP_EXPORT_TIMEOUT":                                  {"-1", "30s"},
		"OTEL_ATTRIBUTE_COUNT_LIMIT":                               {"-2", "none", "99999999999"},
		"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT":                        {"infinite"},
		"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT":                          {"x"},
		"OTEL_TRACES_SAMPLER":                                      {"sometimes", "jaeger_remote"},
		"OTEL_METRIC_EXPORT_INTERVAL":                              {"0", "-1", "60s", "9999999999999999"},
		"OTEL_METRIC_EXPORT_TIMEOUT":                               {"0", "-5", "x"},
		"OTEL_METRICS_EXEMPLAR_FILTER":                             {"sometimes"},
		"OTEL_GO_X_CARDINALITY_LIMIT":                              {"-1", "x"},
		"OTEL_GO_X_OBSERVABILITY":                                  {"1", "true "},
		"OTEL_RESOURCE_ATTRIBUTES":                                 {"hunter2", "a=b,hunter2", "a=b,", "=hunter2", "a=hunter%2"},
		"OTEL_EXPORTER_OTLP_ENDPOINT":                              {"collector:4318", "collector", "127.0.0.1:4318", "//collector:4318", "ftp://collector", "http://", "http://:4318", "http://collector:99999", "http://user:hunter2@collector", "http://collector?key=hunter2", "http://collector#hunter2", "unix:///run/collector", "%"},
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":                       {"collector:4318"},
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT":                      {"collector:4318"},
		"OTEL_EXPORTER_OTLP_HEADERS":                               {"x-key: hunter2", "hunter2", "x key=hunter2", "=hunter2", "x-key=hunter%2", "x-key=hun%0ater2", "x-key=hunter2,", "x-key=hunterü"},
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS":                        {"x-key: hunter2"},
		"OTEL_EXPORTER_OTLP_TIMEOUT":                               {"10s", "-1", "0", "9999999999999"},
		"OTEL_EXPORTER_OTLP_METRICS_TIMEOUT":                       {"10s"},
		"OTEL_EXPORTER_OTLP_COMPRESSION":                           {"zstd", "GZIP"},
		"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION":                    {"true"},
		"OTEL_EXPORTER_OTLP_PROTOCOL":                              {"http/json", "http", "GRPC"},
		"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL":                      {"http"},
		"OTEL_EXPORTER_OTLP_INSECURE":                              {"1", "yes", "false"}, // false contradicts http://
		"OTEL_EXPORTER_OTLP_CERTIFICATE":                           {missing, empty, directory},
		"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE":                    {missing},
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE":                    {missing},
		"OTEL_EXPORTER_OTLP_CLIENT_KEY":                            {missing},
		"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE":        {"deltas"},
		"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": {"exponential"},
	} {
		for _, value := range values {
			t.Run(name+"="+value, func(t *testing.T) {
				exporting(name, value).set(t)
				problems, warnings := CheckEnvironment()
				if got := names(problems); !slices.Equal(got, []string{name}) || len(warnings) > 0 {
					t.Fatalf("problems %v, warnings %v, want %s", problems, warnings, name)
				}
				if text := problems[0].Error(); strings.Contains(text, "hunter") || strings.Contains(text, directory) {
					t.Errorf("%q has the value in it", text)
				}
			})
		}
	}
}

func TestVariablesThatAreWrongTogether(t *testing.T) {
	certificate, key := newKeyPair(t)
	for name, c := range map[string]struct {
		environ  environ
		problems []string
		warnings []string
	}{
		"a batch larger than the queue": {exporting("OTEL_BSP_MAX_QUEUE_SIZE", "8", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9"), []string{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE"}, nil},
		"a ratio out of range":          {exporting("OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", "1.5"), []string{"OTEL_TRACES_SAMPLER_ARG"}, nil},
		"a ratio that is none":          {exporting("OTEL_TRACES_SAMPLER", "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG", "NaN"), []string{"OTEL_TRACES_SAMPLER_ARG"}, nil},
		"a ratio without its sampler":   {exporting("OTEL_TRACES_SAMPLER_ARG", "0.1"), nil, []string{"OTEL_TRACES_SAMPLER_ARG"}},
		"one that is not read":          {exporting("OTEL_TRACES_SAMPLER", "always_on", "OTEL_TRACES_SAMPLER_ARG", "x"), nil, []string{"OTEL_TRACES_SAMPLER_ARG"}},
		"cleartext to https": {environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true"},
			[]string{"OTEL_EXPORTER_OTLP_TRACES_INSECURE"}, nil},
		"a path over gRPC": {environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9/collector", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"},
			[]string{"OTEL_EXPORTER_OTLP_ENDPOINT"}, nil},
		"a key that is another's": {exporting("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate, "OTEL_EXPORTER_OTLP_CLIENT_KEY", certificate),
			[]string{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"}, nil},
		"nothing exported": {environ{"OTEL_BSP_MAX_QUEUE_SIZE": "-1", "OTEL_EXPORTER_OTLP_HEADERS": "x", "OTEL_METRIC_EXPORT_INTERVAL": "x", "OTEL_RESOURCE_ATTRIBUTES": "x"},
			nil, []string{"OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_METRIC_EXPORT_INTERVAL", "OTEL_RESOURCE_ATTRIBUTES"}},
		"the SDK disabled": {exporting("OTEL_SDK_DISABLED", "TRUE", "OTEL_BSP_MAX_QUEUE_SIZE", "-1", "OTEL_TRACES_EXPORTER", "x", "OTEL_EXPORTER_OTLP_ENDPOINT", "x"),
			nil, []string{"OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER"}},
		"metrics alone": {exporting("OTEL_TRACES_EXPORTER", "none", "OTEL_BSP_SCHEDULE_DELAY", "0", "OTEL_METRIC_EXPORT_INTERVAL", "0"),
			[]string{"OTEL_METRIC_EXPORT_INTERVAL"}, []string{"OTEL_BSP_SCHEDULE_DELAY"}},
		"a general value that nobody reads": {environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9",
			"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9"}, nil, []string{"OTEL_EXPORTER_OTLP_ENDPOINT"}},
		"a general value for one": {environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"},
			[]string{"OTEL_EXPORTER_OTLP_ENDPOINT"}, nil},
		"for /metrics, too": {environ{"OTEL_METRICS_EXEMPLAR_FILTER": "x"}, []string{"OTEL_METRICS_EXEMPLAR_FILTER"}, nil},
		"all is well": {exporting("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate, "OTEL_EXPORTER_OTLP_CLIENT_KEY", key, "OTEL_EXPORTER_OTLP_CERTIFICATE", certificate,
			"OTEL_EXPORTER_OTLP_HEADERS", " x-key = a%20b , Authorization=Basic%20eA==", "OTEL_EXPORTER_OTLP_TIMEOUT", "10000", "OTEL_EXPORTER_OTLP_COMPRESSION", "gzip",
			"OTEL_TRACES_SAMPLER", "ParentBased_TraceIDRatio", "OTEL_TRACES_SAMPLER_ARG", "0.01", "OTEL_BSP_SCHEDULE_DELAY", "1", "OTEL_BSP_MAX_QUEUE_SIZE", "8",
			"OTEL_ATTRIBUTE_COUNT_LIMIT", "-1", "OTEL_RESOURCE_ATTRIBUTES", "a=b, c = d%2Ce", "OTEL_EXPORTER_OTLP_INSECURE", "true"), nil, nil},
		"gRPC":        {environ{"OTEL_EXPORTER_OTLP_ENDPOINT": "unix:///run/collector", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, nil, nil},
		"white space": {environ{"OTEL_EXPORTER_OTLP_ENDPOINT": " http://127.0.0.1:9\n", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc\n", "OTEL_TRACES_EXPORTER": " "}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c.environ.set(t)
			problems, warnings := CheckEnvironment()
			if !slices.Equal(names(problems), c.problems) || !slices.Equal(names(warnings), c.warnings) {
				t.Errorf("problems %v, warnings %v, want %v and %v", problems, warnings, c.problems, c.warnings)
			}
		})
	}
}

// newKeyPair writes a certificate and its key.
func newKeyPair(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// TestTheDocumentsHaveTheTable compares docs/operations.md with the table.
func TestTheDocumentsHaveTheTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	of := map[string]bool{} // a signal's own OTLP variables, which have the same kind and effect as the general ones
	for _, v := range otlpVariables() {
		of[traces.otlpName(v.name)], of[metrics.otlpName(v.name)] = true, true
	}
	for _, v := range variables() {
		if !of[v.name] {
			want = append(want, "| `"+v.name+"` | "+v.kind.text+" | "+v.effect+" |")
		}
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "| `OTEL_") {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/operations.md has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// ours are the variables of the table that the SDK for Go does not read, but this package does.
var ours = []string{"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"}

// TestTheTableHasEveryVariableThatTheSDKReads compares the table with the source of OpenTelemetry's packages that the
// program is built of, so that a new version that reads others is noticed.
func TestTheTableHasEveryVariableThatTheSDKReads(t *testing.T) {
	output, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}}\t{{.Dir}}\t{{range .GoFiles}}{{.}} {{end}}",
		"example.com/podero-facade/cmd/podero-facade").Output()
	if err != nil {
		t.Fatal(err)
	}
	read := map[string]string{} // where, by variable
	var readers []string
	for line := range strings.Lines(string(output)) {
		fields := strings.Split(strings.TrimSpace(line), "\t")
		if len(fields) < 3 || !strings.HasPrefix(fields[0], "go.opentelemetry.io/") {
			continue
		}
		for file := range strings.FieldsSeq(fields[2]) {
			where := fields[0] + "/" + file
			source, err := parser.ParseFile(token.NewFileSet(), filepath.Join(fields[1], file), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			found, reads := variablesIn(source)
			for _, name := range found {
				read[name] = where
			}
			if reads {
				readers = append(readers, where)
			}
		}
	}
	var table []string
	for _, v := range variables() {
		if slices.Contains(table, v.name) {
			t.Errorf("%s is in the table twice", v.name)
		}
		table = append(table, v.name)
		if read[v.name] == "" && !slices.Contains(ours, v.name) {
			t.Errorf("%s is in the table, and nothing reads it", v.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(read)) {
		if !slices.Contains(table, name) {
			t.Errorf("%s, which %s reads, is not in the table", name, read[name])
		}
	}
	// A package that reads the environment in another way would not be noticed.
	known := regexp.MustCompile(`/internal/x/x\.go$|/envconfig\.go$|/sdk/trace/internal/env/env\.go$|/sdk/trace/sampler_env\.go$|/sdk/resource/env\.go$|` +
		`/sdk/metric/(env|config)\.go$|/otel/trace/auto\.go$|/auto/sdk/limit\.go$`)
	for _, reader := range readers {
		if !known.MatchString(reader) {
			t.Errorf("%s reads the environment; see which variables", reader)
		}
	}
	if len(readers) < 10 {
		t.Errorf("%d files read the environment, want at least 10: %v", len(readers), readers)
	}
}

// variablesIn returns the variables that a file names, and whether it reads the environment.
func variablesIn(source *ast.File) (variables []string, reads bool) {
	full := regexp.MustCompile(`^OTEL_[A-Z0-9_]*[A-Z0-9]$`)
	ast.Inspect(source, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.BasicLit:
			if text, err := strconv.Unquote(node.Value); err == nil && full.MatchString(text) && text != strings.TrimSuffix(otlpPrefix, "_") {
				variables = append(variables, text)
			}
		case *ast.SelectorExpr:
			reads = reads || slices.Contains([]string{"Getenv", "LookupEnv", "Environ"}, node.Sel.Name)
		case *ast.CallExpr:
			variables = append(variables, suffixesIn(node)...)
		}
		return true
	})
	return variables, reads
}

// suffixesIn returns the variables whose names a call makes of a prefix and its arguments.
func suffixesIn(call *ast.CallExpr) (variables []string) {
	name := ""
	switch function := call.Fun.(type) {
	case *ast.Ident:
		name = function.Name
	case *ast.SelectorExpr:
		name = function.Sel.Name
	}
	prefix := map[bool]string{true: otlpPrefix}[regexp.MustCompile(`^[Ww]ith(Env\w+|URL|CertPool|ClientCert|Bool|Headers|Duration|String)$`).MatchString(name)]
	if name == "newFeature" {
		prefix = "OTEL_GO_X_"
	}
	if prefix == "" {
		return nil
	}
	for _, argument := range call.Args {
		ast.Inspect(argument, func(node ast.Node) bool {
			literal, ok := node.(*ast.BasicLit)
			if _, function := node.(*ast.FuncLit); function || !ok {
				return !function
			}
			if text, err := strconv.Unquote(literal.Value); err == nil && regexp.MustCompile(`^[A-Z_]+$`).MatchString(text) {
				variables = append(variables, prefix+text)
			}
			return true
		})
	}
	return variables
}
