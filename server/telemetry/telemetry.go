// Package telemetry is what an operator sees of the service from outside: metrics, traces and logs.
package telemetry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/go-logr/logr"
	prometheusbridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/liblog"
)

// scope names what the service measures and traces itself.
const scope = "example.com/podero-facade"

// exportProblemsEvery is how often the log says that traces or metrics can't be exported.
const exportProblemsEvery = time.Minute

// Telemetry is the service's metrics, and its traces if the OTEL_* variables say where they go. Create it with
// New.
type Telemetry struct {
	Metrics *Metrics
	Tracer  trace.Tracer // nil if traces go nowhere

	shutdown []func(context.Context) error
}

// New returns the telemetry of a process of the given version. Nothing is exported unless the OTEL_* variables
// name an exporter or an endpoint. Exporting happens in the background and never delays a call: what an
// endpoint does not take in time is dropped.
func New(ctx context.Context, version string, log *slog.Logger) (*Telemetry, error) {
	otel.SetLogger(logr.New(liblog.NewSink(liblog.New(log, "opentelemetry"))))
	t := &Telemetry{}
	if !traces.exported() && !metrics.exported() {
		var err error
		t.Metrics, err = newMetrics()
		return t, err
	}
	otel.SetErrorHandler(&exportProblems{log: log})
	process, err := resource.New(ctx,
		resource.WithAttributes(semconv.ServiceName("podero-facade"), semconv.ServiceVersion(version), semconv.ServiceInstanceID(rand.Text())),
		resource.WithTelemetrySDK(), resource.WithFromEnv()) // the last one wins
	if err != nil {
		return nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	if err := t.addMetrics(ctx, process); err != nil {
		return nil, fmt.Errorf("export metrics: %w", err)
	}
	if err := t.addTraces(ctx, process); err != nil {
		_ = t.Shutdown(ctx)
		return nil, fmt.Errorf("export traces: %w", err)
	}
	return t, nil
}

func (t *Telemetry) addMetrics(ctx context.Context, process *resource.Resource) (err error) {
	if !metrics.exported() {
		t.Metrics, err = newMetrics()
		return err
	}
	exporter, err := newMetricExporter(ctx)
	if err != nil {
		return err
	}
	t.Metrics, err = newMetrics(func(m *Metrics) sdkmetric.Option {
		ours := prometheusbridge.NewMetricProducer(prometheusbridge.WithGatherer(m.registry))
		return sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exporter, sdkmetric.WithProducer(ours)))
	}, func(*Metrics) sdkmetric.Option { return sdkmetric.WithResource(process) })
	if err != nil {
		return err
	}
	t.shutdown = append(t.shutdown, t.Metrics.provider.Shutdown)
	return nil
}

func (t *Telemetry) addTraces(ctx context.Context, process *resource.Resource) error {
	if !traces.exported() {
		return nil
	}
	exporter, err := newSpanExporter(ctx)
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(process))
	t.Tracer = provider.Tracer(scope, trace.WithInstrumentationVersion(version(process)), trace.WithSchemaURL(semconv.SchemaURL))
	t.shutdown = append(t.shutdown, provider.Shutdown)
	return nil
}

func version(process *resource.Resource) string {
	value, _ := process.Set().Value(semconv.ServiceVersionKey)
	return value.AsString()
}

// Shutdown exports what has not been exported yet, for as long as ctx allows.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	failed := make([]error, len(t.shutdown))
	var group sync.WaitGroup
	for i, shutdown := range t.shutdown { // side by side, so that one that hangs takes no time from the others
		group.Go(func() { failed[i] = shutdown(ctx) })
	}
	group.Wait()
	return errors.Join(failed...)
}

// exportProblems logs why traces or metrics can't be exported, now and then: otherwise an endpoint that is down would
// fill the log.
type exportProblems struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
}

// Handle takes note of a problem.
func (e *exportProblems) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.last.IsZero() && time.Since(e.last) < exportProblemsEvery {
		return
	}
	e.last = time.Now()
	var request *url.Error
	if errors.As(err, &request) { // which quotes the URL, with any password in it
		err = fault.Network(err)
	}
	e.log.Warn("traces or metrics can't be exported", "error", err.Error())
}
