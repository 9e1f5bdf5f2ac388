// Package userv1 is the client of podero-facade, and the types of its API: the users of the Podero platform, found by
// the partner's own customer number.
//
// # Null and empty
//
// A field that Podero may leave null is a pointer here: nil is null, and a pointer to "", 0 or false is a value that
// Podero holds. The getters don't tell the two apart, so ask the field before the getter where the difference matters.
// last_login and joined_at are nil when they are null. A role that this version does not know is
// [Role_ROLE_UNSPECIFIED].
//
// # Errors
//
// An error is a gRPC status. Its details hold a google.rpc.ErrorInfo with the reason, which is what to program against,
// and a google.rpc.RequestInfo with the request ID to quote to the operator. Messages are for people and may change.
// The example reads a reason; nothing more is needed than genproto's package errdetails.
//
// # Deadlines, retries, connections
//
// Give every call a context with a deadline: the lookup ends with it, and without one the server's own limit counts.
// The server has tried again already when a lookup fails as UNAVAILABLE, and asks gRPC's own retries to stay away
// (grpc-retry-pushback-ms), so a retry policy is of use where the connection was lost, and nowhere else. One
// [grpc.ClientConn] serves any number of calls at once; towards several replicas behind one DNS name, dial
// dns:///name:port with the service config {"loadBalancingConfig": [{"round_robin": {}}]}.
//
// [grpc.ClientConn]: https://pkg.go.dev/google.golang.org/grpc#ClientConn
package userv1
