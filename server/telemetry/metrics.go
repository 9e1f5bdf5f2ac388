package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	prometheusexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

// ReasonOK is the reason that lookups which found a user are counted under.
const ReasonOK = "OK"

// seconds are the bounds of the histograms' buckets, which the semantic conventions advise.
var seconds = metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

// Metrics are the service's own metrics, and those of OpenTelemetry's semantic conventions. Create them with
// NewMetrics.
type Metrics struct {
	registry *prometheus.Registry // our own metrics
	conv     *prometheus.Registry // those of the semantic conventions
	provider *sdkmetric.MeterProvider

	lookups  map[string]prometheus.Counter
	attempts map[string]prometheus.Counter
	drift    *prometheus.CounterVec

	calls     rpcconv.ServerCallDuration
	callAttrs attributes[callKey]
	exchanges httpconv.ClientRequestDuration
}

// NewMetrics returns metrics that go nowhere but to Handler.
func NewMetrics() (*Metrics, error) { return newMetrics() }

func newMetrics(options ...func(*Metrics) sdkmetric.Option) (*Metrics, error) {
	lookups := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "podero_facade_lookups_total",
		Help: "Lookups by outcome: OK, or the reason of the error.",
	}, []string{"reason"})
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "podero_facade_upstream_attempts_total",
		Help: "Attempts at Podero by result: the class of the status, timeout, network, local (a limit of this machine), or canceled by the caller.",
	}, []string{"result"})
	drift := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "podero_facade_contract_drift_total",
		Help: "What Podero sent that the contract does not know, by kind (field, role, other_document) and name.",
	}, []string{"kind", "name"})
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		conv:     prometheus.NewRegistry(),
		lookups:  each(lookups, append(fault.Reasons(), ReasonOK)),
		attempts: each(attempts, podero.AttemptResults),
		drift:    drift,
	}
	m.registry.MustRegister(lookups, attempts, drift, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m, m.addConventions(options)
}

// addConventions makes the instruments of the semantic conventions.
func (m *Metrics) addConventions(options []func(*Metrics) sdkmetric.Option) error {
	exporter, err := prometheusexporter.New(
		prometheusexporter.WithRegisterer(m.conv),
		prometheusexporter.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		prometheusexporter.WithoutScopeInfo(),
		prometheusexporter.WithoutTargetInfo(),
	)
	if err != nil {
		return fmt.Errorf("show OpenTelemetry's metrics at /metrics: %w", err)
	}
	all := []sdkmetric.Option{sdkmetric.WithReader(exporter)}
	for _, option := range options {
		all = append(all, option(m))
	}
	m.provider = sdkmetric.NewMeterProvider(all...)
	meter := m.provider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	if m.calls, err = rpcconv.NewServerCallDuration(meter, seconds); err != nil {
		return err
	}
	m.exchanges, err = httpconv.NewClientRequestDuration(meter, seconds)
	return err
}

// each returns the counters of a vector by label. They are there from the start, at 0, and cost no lookup
// of a label when they count.
func each(vector *prometheus.CounterVec, labels []string) map[string]prometheus.Counter {
	counters := map[string]prometheus.Counter{}
	for _, label := range labels {
		counters[label] = vector.WithLabelValues(label)
	}
	return counters
}

// Handler serves all metrics in Prometheus's formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, m.conv}, promhttp.HandlerOpts{})
}

// CountAttempt counts an attempt at Podero under its result: one of podero.AttemptResults.
func (m *Metrics) CountAttempt(result string) { m.attempts[result].Inc() }

// Counter makes a counter of what a function returns whenever somebody looks.
func (m *Metrics) Counter(name, help string, value func() int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
		func() float64 { return float64(value()) }))
}

// Gauge makes a gauge of what a function returns whenever somebody looks.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// LabeledGauge adds to the gauges of a name one with a label, read at scrape time.
func (m *Metrics) LabeledGauge(name, help, label, labelValue string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: labelValue}}, value))
}

// LabeledCounter adds to the counters of a name one with a label, read at scrape time.
func (m *Metrics) LabeledCounter(name, help, label, labelValue string, value func() int64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(
		prometheus.CounterOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: labelValue}},
		func() float64 { return float64(value()) }))
}

// CountLookup counts a lookup under its reason: ReasonOK or one of the error table.
func (m *Metrics) CountLookup(reason string) { m.lookups[reason].Inc() }

// CountDrift counts a name that the contract does not know.
func (m *Metrics) CountDrift(kind, name string) { m.drift.WithLabelValues(kind, name).Inc() }

type callKey struct{ method, reason string }

// ObserveCall takes note of how long an RPC took (rpc.server.call.duration). method is the full one; failure is nil
// for an OK.
func (m *Metrics) ObserveCall(ctx context.Context, method string, failure *fault.Error, took time.Duration) {
	key := callKey{method, ReasonOK}
	if failure != nil {
		key.reason = failure.Kind.Reason()
	}
	m.calls.Inst().Record(ctx, took.Seconds(), m.callAttrs.of(key, func() []attribute.KeyValue {
		return append(CallAttributes(method), OutcomeAttributes(failure)...)
	})...)
}

// attributes keeps the sets of attributes of an instrument, which take longer to make than to use.
type attributes[K comparable] struct {
	mu    sync.RWMutex
	known map[K][]metric.RecordOption
}

// of returns the attributes of a key, of which there are few.
func (a *attributes[K]) of(key K, list func() []attribute.KeyValue) []metric.RecordOption {
	a.mu.RLock()
	options, ok := a.known[key]
	a.mu.RUnlock()
	if ok {
		return options
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = map[K][]metric.RecordOption{}
	}
	options = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(list()...))}
	a.known[key] = options
	return options
}
