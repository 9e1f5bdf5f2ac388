package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// A signal is a kind of telemetry that OpenTelemetry exports, as it stands in the names of its variables
// (OpenTelemetry specification, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter").
type signal string

const (
	traces  signal = "TRACES"
	metrics signal = "METRICS"
)

// The values of the variables that are read here. The exporters read all others themselves.
const (
	exporterOTLP = "otlp"
	exporterNone = "none"
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
)

// CheckEnvironment returns an error for each OTEL_* variable whose value the SDK would choke on, drop or misread, with the
// variable, never its value, and what to do. Those that change nothing, because their signal is not exported, are
// warnings.
func CheckEnvironment() (problems, warnings []error) {
	var e environment
	for _, s := range []signal{traces, metrics} {
		e.checkOTLP(s)
	}
	e.checkSampler()
	e.checkBatch()
	for _, v := range variables() {
		if value := v.value(); value != "" && !v.kind.valid(value) && !e.has(v.name) {
			e.report(v.isEffective(), v.name, "must be %s, otherwise %s; correct or unset it", v.kind.text, v.effect)
		}
	}
	for _, f := range e.findings {
		err := errors.New(f.variable + ": " + f.problem)
		if f.effective {
			problems = append(problems, err)
		} else {
			warnings = append(warnings, err)
		}
	}
	return problems, warnings
}

// environment collects what is wrong with the OTEL_* variables.
type environment struct{ findings []finding }

// finding is what is wrong with a variable.
type finding struct {
	variable, problem string
	effective         bool // whether it changes what is exported
}

// has reports whether there is a finding of a variable.
func (e *environment) has(variable string) bool {
	return slices.ContainsFunc(e.findings, func(f finding) bool { return f.variable == variable })
}

// report adds a finding. The first one of a variable stays, and is effective if any is.
func (e *environment) report(effective bool, variable, format string, args ...any) {
	for i, f := range e.findings {
		if f.variable == variable {
			e.findings[i].effective = f.effective || effective
			return
		}
	}
	e.findings = append(e.findings, finding{variable, fmt.Sprintf(format, args...), effective})
}

// checkSampler reports an argument that the sampler does not read.
func (e *environment) checkSampler() {
	const name = "OTEL_TRACES_SAMPLER_ARG"
	if valueOf(name) != "" && !strings.HasSuffix(strings.ToLower(valueOf("OTEL_TRACES_SAMPLER")), "traceidratio") {
		e.report(false, name, "has no effect; give OTEL_TRACES_SAMPLER=parentbased_traceidratio or traceidratio, too, or unset it")
	}
}

// checkBatch reports a batch that does not fit into the queue.
func (e *environment) checkBatch() {
	const name = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"
	queue, err := strconv.Atoi(valueOf("OTEL_BSP_MAX_QUEUE_SIZE"))
	if err != nil {
		queue = sdktrace.DefaultMaxQueueSize
	}
	if batch, err := strconv.Atoi(valueOf(name)); err == nil && queue > 0 && batch > queue {
		e.report(traces.exported(), name, "must be at most OTEL_BSP_MAX_QUEUE_SIZE (default %d), otherwise %s; correct or unset it",
			sdktrace.DefaultMaxQueueSize, isDefault)
	}
}

// checkOTLP reports variables of a signal's exporter that are wrong together.
func (e *environment) checkOTLP(s signal) {
	endpoint, name := s.otlp("ENDPOINT")
	u, problem := parseEndpoint(endpoint, s.protocol())
	if endpoint != "" && problem != "" {
		e.report(s.exported(), name, "%s", problem)
	}
	insecure, name := s.otlp("INSECURE")
	if want := map[string]string{"https": "false", "http": "true"}[u.Scheme]; want != "" && oneOf("true", "false").valid(insecure) && !strings.EqualFold(insecure, want) {
		e.report(s.exported(), name, "contradicts the scheme of the endpoint, instead of which the SDK follows it; unset it")
	}
	for _, prefix := range []string{otlpPrefix, s.otlpName("")} {
		e.checkClientCertificate(s, prefix)
	}
}

// checkClientCertificate reports a client certificate or its key, of which the SDK ignores one without the other.
func (e *environment) checkClientCertificate(s signal, prefix string) {
	effective := s.exported() && !s.overrides(prefix+"CLIENT_CERTIFICATE")
	certificate, key := valueOf(prefix+"CLIENT_CERTIFICATE"), valueOf(prefix+"CLIENT_KEY")
	switch {
	case certificate == "" && key == "":
	case key == "":
		e.report(effective, prefix+"CLIENT_CERTIFICATE", "needs %sCLIENT_KEY, otherwise it is ignored; give both, or unset it", prefix)
	case certificate == "":
		e.report(effective, prefix+"CLIENT_KEY", "needs %sCLIENT_CERTIFICATE, otherwise it is ignored; give both, or unset it", prefix)
	case !isKeyPair(certificate, key):
		e.report(effective, prefix+"CLIENT_CERTIFICATE",
			"must be a readable PEM file with the certificate of %sCLIENT_KEY, otherwise both are ignored; correct or unset both", prefix)
	}
}

// parseEndpoint parses an endpoint, of which no part may be ignored. It returns what is wrong with it, or "".
func parseEndpoint(endpoint, protocol string) (u *url.URL, problem string) {
	const example = "; give one like http://collector:4318"
	u, err := url.Parse(endpoint)
	if err != nil {
		return &url.URL{}, "is not a URL" + example
	}
	if protocol == protocolGRPC && (u.Scheme == "unix" || u.Scheme == "dns") { // names of gRPC
		return u, ""
	}
	_, err = strconv.ParseUint(cmp.Or(u.Port(), "0"), 10, 16)
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || err != nil:
		return u, "must be a URL with http:// or https:// and a host, otherwise exports go elsewhere" + example
	case u.User != nil:
		return u, "has credentials in it, which are ignored; give them with OTEL_EXPORTER_OTLP_HEADERS"
	case strings.ContainsAny(endpoint, "?#"):
		return u, "has a query or a fragment, which is ignored; leave it out"
	case protocol == protocolGRPC && strings.Trim(u.Path, "/") != "":
		return u, "has a path, which is ignored over gRPC; leave it out"
	}
	return u, ""
}

// valueOf returns the value of a variable without white space around it.
func valueOf(name string) string { return strings.TrimSpace(os.Getenv(name)) }

// value returns the value as the SDK reads it. An empty one is as good as none (OpenTelemetry specification).
func (v *variable) value() string {
	if v.kind.raw {
		return os.Getenv(v.name)
	}
	return valueOf(v.name)
}

// isEffective reports whether the value of a variable is read for a signal that is exported.
func (v *variable) isEffective() bool {
	if v.signals == nil {
		return true
	}
	return slices.ContainsFunc(v.signals, func(s signal) bool {
		if v.name == "OTEL_"+string(s)+"_EXPORTER" || v.name == "OTEL_SDK_DISABLED" {
			return !isDisabled()
		}
		return s.exported() && !s.overrides(v.name)
	})
}

// overrides reports whether a signal has a variable of its own instead of a general one.
func (s signal) overrides(name string) bool {
	suffix, ok := strings.CutPrefix(name, otlpPrefix)
	if !ok || name == s.otlpName(strings.TrimPrefix(suffix, string(s)+"_")) {
		return false
	}
	return valueOf(s.otlpName(suffix)) != ""
}

func isDisabled() bool { return strings.EqualFold(valueOf("OTEL_SDK_DISABLED"), "true") }

// exported reports whether the signal goes anywhere: if an exporter or an endpoint is named. Without either,
// OpenTelemetry would send to localhost, where nobody said that somebody listens.
func (s signal) exported() bool {
	if isDisabled() {
		return false
	}
	exporter := valueOf("OTEL_" + string(s) + "_EXPORTER")
	endpoint, _ := s.otlp("ENDPOINT")
	return strings.EqualFold(exporter, exporterOTLP) || exporter == "" && endpoint != ""
}

func (s signal) protocol() string {
	if protocol, _ := s.otlp("PROTOCOL"); protocol != "" {
		return protocol
	}
	return protocolHTTP
}

// otlpName returns the name of the signal's own OTLP variable.
func (s signal) otlpName(suffix string) string { return otlpPrefix + string(s) + "_" + suffix }

// otlp returns the value of an OTLP variable, and which one it is: the signal's own one, or else that of all signals.
func (s signal) otlp(suffix string) (value, name string) {
	for _, name := range []string{s.otlpName(suffix), otlpPrefix + suffix} {
		if value := valueOf(name); value != "" {
			return value, name
		}
	}
	return "", otlpPrefix + suffix
}

func newSpanExporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	if traces.protocol() == protocolGRPC {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}

func newMetricExporter(ctx context.Context) (sdkmetric.Exporter, error) {
	if metrics.protocol() == protocolGRPC {
		return otlpmetricgrpc.New(ctx)
	}
	return otlpmetrichttp.New(ctx)
}
