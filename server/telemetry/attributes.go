package telemetry

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"

	"example.com/podero-facade/server/fault"
)

// CallAttributes are what is known of an RPC before it is handled (semantic conventions for gRPC). method is the
// full one, with a slash before it. Nothing of a request may join them: it names a person.
func CallAttributes(method string) []attribute.KeyValue {
	return []attribute.KeyValue{semconv.RPCSystemNameGRPC, semconv.RPCMethod(strings.TrimPrefix(method, "/"))}
}

// OutcomeAttributes are how an RPC ended. failure is nil for an OK.
func OutcomeAttributes(failure *fault.Error) []attribute.KeyValue {
	code := codes.OK
	if failure != nil {
		code = failure.Kind.Code()
	}
	list := []attribute.KeyValue{semconv.RPCResponseStatusCode(rpccode.Code_name[int32(code)])}
	if IsServers(code) {
		list = append(list, semconv.ErrorTypeKey.String(failure.Kind.Reason()))
	}
	return list
}

// IsServers reports whether a code says that the server failed, not its caller (semantic conventions for gRPC: the
// codes that make a server's span an error).
func IsServers(code codes.Code) bool {
	switch code {
	case codes.Unknown, codes.DeadlineExceeded, codes.Unimplemented, codes.Internal, codes.Unavailable, codes.DataLoss:
		return true
	default:
		return false
	}
}
