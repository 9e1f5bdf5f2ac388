// Package tracecontext carries the trace that a call belongs to from the caller to Podero (W3C Trace Context):
// traceparent alone. tracestate goes no further than to the service's own spans, and baggage not even there: both may
// be anything.
package tracecontext

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"
)

var w3c = propagation.TraceContext{}

// FromHTTP returns a context with the trace that a REST call belongs to, if it belongs to one.
func FromHTTP(ctx context.Context, header http.Header) context.Context {
	if len(header["Traceparent"]) == 0 {
		return ctx
	}
	return w3c.Extract(ctx, propagation.HeaderCarrier(header))
}

// FromMetadata returns a context with the trace that a gRPC call belongs to. A trace that ctx has
// already, as that of a REST call, stays.
func FromMetadata(ctx context.Context) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() || len(metadata.ValueFromIncomingContext(ctx, "traceparent")) == 0 {
		return ctx
	}
	return w3c.Extract(ctx, incoming{ctx})
}

// ToHTTP writes the trace of ctx to the header of a request to Podero.
func ToHTTP(ctx context.Context, header http.Header) {
	w3c.Inject(ctx, propagation.HeaderCarrier(header))
	header.Del("Tracestate")
}

// ID returns the ID of the trace that ctx belongs to, or "".
func ID(ctx context.Context) string {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		return span.TraceID().String()
	}
	return ""
}

// incoming is the metadata of a call as a carrier. Nothing is written to it.
type incoming struct{ ctx context.Context }

func (i incoming) Get(key string) string {
	if values := metadata.ValueFromIncomingContext(i.ctx, key); len(values) > 0 {
		return values[0]
	}
	return ""
}

func (incoming) Set(string, string) {}
func (incoming) Keys() []string     { return w3c.Fields() }
