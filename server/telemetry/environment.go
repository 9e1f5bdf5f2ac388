package telemetry

import (
	"context"
	"fmt"
	"os"
	"strconv"

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

// CheckEnvironment returns an error for each OTEL_* variable whose value means nothing to the service, with the
// variable and what to do.
func CheckEnvironment() (problems []error) {
	for _, s := range []signal{traces, metrics} {
		switch name := "OTEL_" + string(s) + "_EXPORTER"; os.Getenv(name) {
		case "", exporterOTLP, exporterNone:
		default:
			problems = append(problems, fmt.Errorf("%s: %q is not known; give otlp or none", name, os.Getenv(name)))
		}
		if !s.exported() {
			continue
		}
		switch protocol := s.protocol(); protocol {
		case protocolGRPC, protocolHTTP:
		default:
			problems = append(problems, fmt.Errorf("OTEL_EXPORTER_OTLP_%s_PROTOCOL or OTEL_EXPORTER_OTLP_PROTOCOL: %q is not known; give grpc or http/protobuf", s, protocol))
		}
	}
	return problems
}

// exported reports whether the signal goes anywhere: if an exporter or an endpoint is named. Without either,
// OpenTelemetry would send to localhost, where nobody said that somebody listens.
func (s signal) exported() bool {
	if disabled, err := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")); err == nil && disabled {
		return false
	}
	switch os.Getenv("OTEL_" + string(s) + "_EXPORTER") {
	case exporterOTLP:
		return true
	case "":
		return s.otlp("ENDPOINT") != ""
	default:
		return false
	}
}

func (s signal) protocol() string {
	if protocol := s.otlp("PROTOCOL"); protocol != "" {
		return protocol
	}
	return protocolHTTP
}

// otlp returns the value of an OTLP variable: the signal's own one, or else that of all signals.
func (s signal) otlp(name string) string {
	if value := os.Getenv("OTEL_EXPORTER_OTLP_" + string(s) + "_" + name); value != "" {
		return value
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_" + name)
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
