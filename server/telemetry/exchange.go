package telemetry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"example.com/podero-facade/server/tracecontext"
)

// A Place is what the service sends requests to, as far as metrics and traces may know: a URL's path may name a
// person, its template does not.
type Place struct {
	Method   string // of every request
	BaseURL  string // scheme, host and port of which count
	Template string // of the path, such as /users/{id}; a request's Pattern goes before
}

// attributes returns what is the same for every request, but the template.
func (p Place) attributes() []attribute.KeyValue {
	list := []attribute.KeyValue{semconv.HTTPRequestMethodKey.String(p.Method)}
	u, err := url.Parse(p.BaseURL)
	if err != nil { // only of what the configuration refuses
		return list
	}
	port := map[string]int{"http": 80, "https": 443}[u.Scheme]
	if number, err := strconv.Atoi(u.Port()); err == nil {
		port = number
	}
	return append(list, semconv.ServerAddress(u.Hostname()), semconv.ServerPort(port), semconv.URLScheme(u.Scheme))
}

// template returns the template of a request's path.
func (p Place) template(request *http.Request) string {
	if request.Pattern != "" {
		return request.Pattern
	}
	return p.Template
}

// exchangeKey is where an exchange went and how it ended: with a status, or with an error.
type exchangeKey struct {
	template string
	status   int
	failed   string
}

// keyOf returns the key of an exchange at a place.
func (p Place) keyOf(request *http.Request, response *http.Response, err error) exchangeKey {
	key := exchangeKey{template: p.template(request)}
	if err == nil {
		key.status = response.StatusCode
		return key
	}
	timed, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		key.failed = "canceled" // by its callers
	case ok && timed.Timeout():
		key.failed = "timeout"
	default:
		key.failed = "network"
	}
	return key
}

func (k exchangeKey) attributes() []attribute.KeyValue {
	list := []attribute.KeyValue{semconv.URLTemplate(k.template)}
	switch {
	case k.failed != "":
		return append(list, semconv.ErrorTypeKey.String(k.failed))
	case k.status >= 400:
		return append(list, semconv.HTTPResponseStatusCode(k.status), semconv.ErrorTypeKey.String(strconv.Itoa(k.status)))
	default:
		return append(list, semconv.HTTPResponseStatusCode(k.status))
	}
}

// measured is a RoundTripper that takes note of how long the head of an answer takes
// (http.client.request.duration).
type measured struct {
	next    http.RoundTripper
	metrics *Metrics
	place   Place
	always  []attribute.KeyValue // of the place
	known   attributes[exchangeKey]
}

func (m *measured) RoundTrip(request *http.Request) (*http.Response, error) {
	begun := time.Now()
	response, err := m.next.RoundTrip(request)
	key := m.place.keyOf(request, response, err)
	m.metrics.exchanges.Inst().Record(request.Context(), time.Since(begun).Seconds(), m.known.of(key, func() []attribute.KeyValue {
		return append(key.attributes(), m.always...)
	})...)
	return response, err
}

// traced is a RoundTripper that makes a span of each exchange and tells the other side of it.
type traced struct {
	next   http.RoundTripper
	tracer trace.Tracer
	place  Place
	always trace.SpanStartEventOption // of the place
}

func (t *traced) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, span := t.tracer.Start(request.Context(), t.place.Method+" "+t.place.template(request),
		trace.WithSpanKind(trace.SpanKindClient), t.always)
	defer span.End()
	request = request.Clone(ctx)
	tracecontext.ToHTTP(ctx, request.Header)
	response, err := t.next.RoundTrip(request)
	key := t.place.keyOf(request, response, err)
	span.SetAttributes(key.attributes()...)
	if key.failed != "" || key.status >= 400 {
		span.SetStatus(codes.Error, "") // an error's text may quote a URL
	}
	return response, err
}

// RoundTripper returns a RoundTripper that sends requests to a place and measures them, and traces them if traces
// go anywhere.
func (t *Telemetry) RoundTripper(next http.RoundTripper, place Place) http.RoundTripper {
	if t.Tracer != nil {
		next = &traced{next, t.Tracer, place, trace.WithAttributes(place.attributes()...)}
	}
	return &measured{next: next, metrics: t.Metrics, place: place, always: place.attributes()}
}
