package telemetry

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// variable is an environment variable that the SDK, an exporter or this package reads.
type variable struct {
	name    string
	signals []signal // whose export reads it; nil if /metrics depends on it, too
	kind    kind
	effect  string // what becomes of a wrong value if nobody refuses it
}

// kind is the type of a variable's value.
type kind struct {
	text  string // what a value is, for people: "a number from 1 to 10"
	valid func(value string) bool
	raw   bool // the SDK does not trim white space around it
}

const (
	otlpPrefix = "OTEL_EXPORTER_OTLP_"

	maxMilliseconds = 24 * 60 * 60 * 1000
	maxQueue        = 1_000_000 // spans, of 16 bytes each while the queue is empty
	maxCount        = 1<<31 - 1
)

// The effects of wrong values.
const (
	isDefault   = "the default is used"
	isIgnored   = "it is ignored"
	isFalse     = "it means false"
	isUnlimited = "there is no limit"
)

// variables returns all variables that the SDK and the exporters in go.mod read, and those of this package.
func variables() []variable {
	both, onlyTraces, onlyMetrics := []signal{traces, metrics}, []signal{traces}, []signal{metrics}
	list := []variable{
		{"OTEL_SDK_DISABLED", both, oneOf("true", "false"), isFalse},
		{"OTEL_TRACES_EXPORTER", onlyTraces, oneOf(exporterOTLP, exporterNone), "nothing is exported"},
		{"OTEL_METRICS_EXPORTER", onlyMetrics, oneOf(exporterOTLP, exporterNone), "nothing is exported"},
		{"OTEL_SERVICE_NAME", both, kind{text: "any text", valid: always}, "no value is wrong"},
		{"OTEL_RESOURCE_ATTRIBUTES", both, kind{text: "a list like key=value,key=value, with %2C for a comma", valid: isAttributes}, "the service does not start, or an attribute is wrong"},

		{"OTEL_TRACES_SAMPLER", onlyTraces, oneOf("always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"), isDefault},
		{"OTEL_TRACES_SAMPLER_ARG", onlyTraces, kind{text: "a number from 0 to 1", valid: isRatio}, "every trace is sampled"},
		{"OTEL_BSP_SCHEDULE_DELAY", onlyTraces, number(1, maxMilliseconds), "a processor spins, or the default is used"},
		{"OTEL_BSP_EXPORT_TIMEOUT", onlyTraces, number(0, maxMilliseconds), "there is no timeout, or the default is used"},
		{"OTEL_BSP_MAX_QUEUE_SIZE", onlyTraces, number(1, maxQueue), "the process panics, runs out of memory, or drops all spans"},
		{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", onlyTraces, number(1, maxQueue), "the process panics, or the default is used"},
		{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", onlyTraces, number(-1, maxCount), isDefault},
		{"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", onlyTraces, number(-1, maxCount), isDefault},
		{"OTEL_ATTRIBUTE_COUNT_LIMIT", onlyTraces, number(-1, maxCount), isDefault},
		{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", onlyTraces, number(-1, maxCount), isDefault},
		{"OTEL_SPAN_EVENT_COUNT_LIMIT", onlyTraces, number(-1, maxCount), isDefault},
		{"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", onlyTraces, number(-1, maxCount), isDefault},
		{"OTEL_SPAN_LINK_COUNT_LIMIT", onlyTraces, number(-1, maxCount), isDefault},
		{"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", onlyTraces, number(-1, maxCount), isDefault},

		{"OTEL_METRIC_EXPORT_INTERVAL", onlyMetrics, number(1, maxMilliseconds), isDefault},
		{"OTEL_METRIC_EXPORT_TIMEOUT", onlyMetrics, number(1, maxMilliseconds), isDefault},
		{"OTEL_METRICS_EXEMPLAR_FILTER", nil, oneOf("always_on", "always_off", "trace_based"), isDefault},
		{"OTEL_GO_X_CARDINALITY_LIMIT", nil, number(0, maxCount), isDefault + ", or " + isUnlimited},
		{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", onlyMetrics, oneOf("cumulative", "delta", "lowmemory"), isDefault},
		{"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", onlyMetrics, oneOf("explicit_bucket_histogram", "base2_exponential_bucket_histogram"), isDefault},

		{"OTEL_GO_X_OBSERVABILITY", both, rawFlag, isFalse},
		{"OTEL_GO_X_SELF_OBSERVABILITY", both, rawFlag, isFalse},
		{"OTEL_GO_X_RESOURCE", both, rawFlag, isFalse},
		{"OTEL_GO_X_PER_SERIES_START_TIMESTAMPS", nil, rawFlag, isFalse},
	}
	for _, v := range otlpVariables() {
		list = append(list,
			variable{otlpPrefix + v.name, both, v.kind, v.effect},
			variable{traces.otlpName(v.name), onlyTraces, v.kind, v.effect},
			variable{metrics.otlpName(v.name), onlyMetrics, v.kind, v.effect})
	}
	return list
}

// otlpVariables returns the variables of the exporters, by the ends of their names: there is a general one, and one of
// each signal, which takes its place.
func otlpVariables() []variable {
	return []variable{
		{"ENDPOINT", nil, kind{text: "a URL like http://collector:4318", valid: isEndpoint}, "exports go elsewhere"}, // see checkOTLP, too
		{"PROTOCOL", nil, exactly(protocolGRPC, protocolHTTP), isDefault},
		{"HEADERS", nil, kind{text: "a list like key=value,key=value, with %2C for a comma", valid: isHeaders}, "exports go without a header"},
		{"TIMEOUT", nil, number(1, maxMilliseconds), "each export fails, never ends, or the default is used"},
		{"COMPRESSION", nil, exactly("gzip", "none"), "exports are not compressed"},
		{"INSECURE", nil, oneOf("true", "false"), isFalse},
		{"CERTIFICATE", nil, kind{text: "a readable PEM file with certificates", valid: isCertificateFile}, "the system's CAs are trusted"},
		{"CLIENT_CERTIFICATE", nil, kind{text: "a readable PEM file with a certificate", valid: always}, isIgnored}, // see checkClientCertificate
		{"CLIENT_KEY", nil, kind{text: "a readable PEM file with the certificate's key", valid: always}, isIgnored},
	}
}

// always is for values that can't be wrong by themselves.
func always(string) bool { return true }

// rawFlag is the kind of a variable that switches an experiment on.
var rawFlag = kind{text: "true or false", valid: oneOf("true", "false").valid, raw: true}

// number returns the kind of a whole number.
func number(least, most int) kind {
	text := "a whole number from " + strconv.Itoa(least) + " to " + strconv.Itoa(most)
	return kind{text: text, raw: true, valid: func(value string) bool {
		n, err := strconv.Atoi(value)
		return err == nil && n >= least && n <= most
	}}
}

// oneOf returns the kind of one of some words, whatever their case.
func oneOf(words ...string) kind {
	return kind{text: alternatives(words), valid: func(value string) bool { return slices.Contains(words, strings.ToLower(value)) }}
}

// exactly returns the kind of one of some words.
func exactly(words ...string) kind {
	return kind{text: alternatives(words), valid: func(value string) bool { return slices.Contains(words, value) }}
}

// alternatives returns words as a list for people.
func alternatives(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func isRatio(value string) bool {
	ratio, err := strconv.ParseFloat(value, 64)
	return err == nil && ratio >= 0 && ratio <= 1
}

// isAttributes reports whether a value is a list of attributes, as the SDK reads it.
func isAttributes(value string) bool {
	for item := range strings.SplitSeq(value, ",") {
		key, escaped, found := strings.Cut(item, "=")
		if _, err := url.PathUnescape(escaped); err != nil || !found || strings.TrimSpace(key) == "" {
			return false
		}
	}
	return true
}

// isHeaders reports whether a value is a list of headers that can be sent over gRPC and HTTP.
func isHeaders(value string) bool {
	for item := range strings.SplitSeq(value, ",") {
		name, escaped, found := strings.Cut(item, "=")
		text, err := url.PathUnescape(escaped)
		if err != nil || !found || !isHeaderName(strings.TrimSpace(name)) || strings.ContainsFunc(strings.TrimSpace(text), isUnprintable) {
			return false
		}
	}
	return true
}

func isEndpoint(value string) bool {
	_, overHTTP := parseEndpoint(value, protocolHTTP)
	_, overGRPC := parseEndpoint(value, protocolGRPC)
	return overHTTP == "" || overGRPC == ""
}

// isHeaderName reports whether a name is one that gRPC can send, which HTTP can then, too.
func isHeaderName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.'
	})
}

func isUnprintable(c rune) bool { return c < ' ' || c > '~' }

func isCertificateFile(path string) bool {
	content, err := os.ReadFile(filepath.Clean(path))
	return err == nil && x509.NewCertPool().AppendCertsFromPEM(content)
}

func isKeyPair(certificate, key string) bool {
	_, err := tls.LoadX509KeyPair(certificate, key)
	return err == nil
}
