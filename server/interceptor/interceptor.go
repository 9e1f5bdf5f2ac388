// Package interceptor is what every call passes on its way in and out, over gRPC and over REST: it gets a
// request ID, its errors become those of the error table, its outcome is counted and logged, and a
// panic ends it alone.
package interceptor

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/recovery"
	"example.com/podero-facade/server/requestid"
	"example.com/podero-facade/server/telemetry"
	"example.com/podero-facade/server/tracecontext"
)

// Unary returns the interceptor. Calls of services outside the package podero, such as health, pass
// untouched.
func Unary(log *slog.Logger, metrics *telemetry.Metrics) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if !isOurs(info.FullMethod) {
			return handle(ctx, request)
		}
		begun := time.Now()
		ctx, id := identify(tracecontext.FromMetadata(ctx))
		response, err := recovered(ctx, request, handle, log)
		took := time.Since(begun)
		if err == nil {
			metrics.CountLookup(telemetry.ReasonOK)
			metrics.ObserveCall(ctx, info.FullMethod, nil, took)
			annotate(ctx, id, nil)
			log.LogAttrs(ctx, slog.LevelDebug, "lookup",
				slog.String("request_id", id), slog.String("method", info.FullMethod),
				slog.Duration("duration", took))
			return response, nil
		}
		failure := fault.From(err)
		if failure.Final {
			// Of gRPC's retry design (A6): don't retry. Setting a trailer fails only after the call.
			_ = grpc.SetTrailer(ctx, metadata.MD{"grpc-retry-pushback-ms": {"-1"}})
		}
		metrics.CountLookup(failure.Kind.Reason())
		metrics.ObserveCall(ctx, info.FullMethod, failure, took)
		annotate(ctx, id, failure)
		log.LogAttrs(ctx, level(failure.Kind.Code()), "lookup failed",
			slog.String("request_id", id), slog.String("method", info.FullMethod),
			slog.String("trace_id", tracecontext.ID(ctx)),
			slog.String("reason", failure.Kind.Reason()), slog.String("error", failure.Error()),
			slog.Duration("duration", took))
		return nil, failure.Status(id).Err()
	}
}

func isOurs(method string) bool { return strings.HasPrefix(method, "/podero.") }

// Traced returns an interceptor that makes a span of each call, in the trace of its caller if there is one. It belongs
// outside of the one that Unary returns, which tells the span how the call ended.
func Traced(tracer trace.Tracer) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if !isOurs(info.FullMethod) {
			return handle(ctx, request)
		}
		ctx, span := tracer.Start(tracecontext.FromMetadata(ctx), strings.TrimPrefix(info.FullMethod, "/"),
			trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(telemetry.CallAttributes(info.FullMethod)...))
		defer span.End()
		return handle(ctx, request)
	}
}

// annotate tells the span of a call, if it has one, which call it was and how that ended.
func annotate(ctx context.Context, id string, failure *fault.Error) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("podero_facade.request_id", id))
	span.SetAttributes(telemetry.OutcomeAttributes(failure)...)
	if failure != nil {
		span.SetAttributes(attribute.String("podero_facade.reason", failure.Kind.Reason()))
		if telemetry.IsServers(failure.Kind.Code()) {
			span.SetStatus(otelcodes.Error, failure.Kind.Reason())
		}
	}
}

// Chain returns an interceptor that is two, the outer one around the inner.
func Chain(outer, inner grpc.UnaryServerInterceptor) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		return outer(ctx, request, info, func(ctx context.Context, request any) (any, error) {
			return inner(ctx, request, info, handle)
		})
	}
}

// identify gives the call the request ID that its caller proposed, or a new one, and returns it with the
// answer. A REST call comes with its ID in the context, and its answer has it already.
func identify(ctx context.Context) (context.Context, string) {
	if id := requestid.From(ctx); id != "" {
		return ctx, id
	}
	proposed := ""
	if values := metadata.ValueFromIncomingContext(ctx, requestid.Header); len(values) > 0 {
		proposed = values[0]
	}
	id := requestid.Accept(proposed)
	// SetHeader fails only after the headers were sent, which nothing inside of here does.
	_ = grpc.SetHeader(ctx, metadata.MD{requestid.Header: {id}})
	return requestid.With(ctx, id), id
}

// recovered handles the call and turns a panic into an error.
func recovered(ctx context.Context, request any, handle grpc.UnaryHandler, log *slog.Logger) (response any, err error) {
	defer func() {
		if value := recover(); value != nil {
			recovery.Write(ctx, log, value)
			response, err = nil, fault.New(fault.Internal, nil)
		}
	}()
	return handle(ctx, request)
}

// level is that of a failed call's line in the log: an error asks for a person, a warning may pass by
// itself, and what the caller has to see to is for information.
func level(code codes.Code) slog.Level {
	switch code {
	case codes.Internal:
		return slog.LevelError
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Unauthenticated, codes.PermissionDenied:
		return slog.LevelWarn
	default:
		return slog.LevelInfo
	}
}
