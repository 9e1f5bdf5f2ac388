// Package telemetry is what an operator sees of the service from outside: metrics and logs.
package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
)

// ReasonOK is the reason that lookups which found a user are counted under.
const ReasonOK = "OK"

// Metrics are the service's own metrics. Create them with NewMetrics.
type Metrics struct {
	Registry *prometheus.Registry

	lookups  map[string]prometheus.Counter
	attempts map[string]prometheus.Counter
	drift    *prometheus.CounterVec
}

// NewMetrics returns metrics with a registry of their own.
func NewMetrics() *Metrics {
	registry := prometheus.NewRegistry()
	lookups := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "podero_facade_lookups_total",
		Help: "Lookups by outcome: OK, or the reason of the error.",
	}, []string{"reason"})
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "podero_facade_upstream_attempts_total",
		Help: "Exchanges with Podero by result: the class of the status, timeout, network, or caller if its caller went away.",
	}, []string{"result"})
	drift := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "podero_facade_contract_drift_total",
		Help: "What Podero sent that the contract does not know, by kind (field, role) and name.",
	}, []string{"kind", "name"})
	registry.MustRegister(lookups, attempts, drift, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	return &Metrics{
		Registry: registry,
		lookups:  each(lookups, append(fault.Reasons(), ReasonOK)),
		attempts: each(attempts, podero.Results),
		drift:    drift,
	}
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

// CountAttempt counts an exchange with Podero under its result: one of podero.Results.
func (m *Metrics) CountAttempt(result string) { m.attempts[result].Inc() }

// Counter makes a counter of what a function returns whenever somebody looks.
func (m *Metrics) Counter(name, help string, value func() int64) {
	m.Registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help},
		func() float64 { return float64(value()) }))
}

// Gauge makes a gauge of what a function returns whenever somebody looks.
func (m *Metrics) Gauge(name, help string, value func() float64) {
	m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// CountLookup counts a lookup under its reason: ReasonOK or one of the error table.
func (m *Metrics) CountLookup(reason string) { m.lookups[reason].Inc() }

// CountDrift counts a name that the contract does not know.
func (m *Metrics) CountDrift(kind, name string) { m.drift.WithLabelValues(kind, name).Inc() }
