// Package fault defines the service's errors in one table: from the kind of an error to its reason,
// gRPC code, HTTP status and message.
package fault

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is the domain of every google.rpc.ErrorInfo that the service attaches.
const Domain = "podero-facade"

// A Kind is a row of the error table.
type Kind uint8

// The rows of the error table. The zero Kind is a bug of ours.
const (
	Internal Kind = iota
	InvalidRequest
	CallerUnauthenticated
	CallerForbidden
	UserNotFound
	UpstreamRejectedRequest
	UpstreamForbidden
	UpstreamUnauthenticated
	UpstreamRefusedCaller
	UpstreamRateLimited
	UpstreamUnavailable
	UpstreamCircuitOpen
	Overloaded
	TokenUnavailable
	TokenRejected
	UpstreamTimeout
	CallerCancelled
	UpstreamUnexpectedStatus
	UpstreamContractViolation
	NoSuchRoute
	MethodNotAllowed
)

type row struct {
	reason  string
	code    codes.Code
	http    int
	message string
}

// StatusClientClosedRequest is what a REST call ends with when its caller went away. No caller sees
// it; it is the number that proxies use in their logs.
const StatusClientClosedRequest = 499

var table = [...]row{
	Internal: {"INTERNAL", codes.Internal, http.StatusInternalServerError,
		"The service failed. Quote the request ID to its operator."},
	InvalidRequest: {"INVALID_REQUEST", codes.InvalidArgument, http.StatusBadRequest,
		"The request breaks a rule of the API; correct the named fields."},
	CallerUnauthenticated: {"CALLER_UNAUTHENTICATED", codes.Unauthenticated, http.StatusUnauthorized,
		"The call has no credentials. Send what this service wants: a client certificate, or an Authorization header with a bearer token."},
	CallerForbidden: {"CALLER_FORBIDDEN", codes.PermissionDenied, http.StatusForbidden,
		"The caller may not read this organization. Ask the service's operator for access."},
	UserNotFound: {"USER_NOT_FOUND", codes.NotFound, http.StatusNotFound,
		"The organization has no user with this external ID."},
	UpstreamRejectedRequest: {"UPSTREAM_REJECTED_REQUEST", codes.InvalidArgument, http.StatusBadRequest,
		"Podero rejected the request."},
	UpstreamForbidden: {"UPSTREAM_FORBIDDEN", codes.PermissionDenied, http.StatusForbidden,
		"Podero denies these credentials access to the organization."},
	UpstreamUnauthenticated: {"UPSTREAM_UNAUTHENTICATED", codes.Internal, http.StatusInternalServerError,
		"Podero does not accept the service's access token. Its operator must check the client credentials."},
	UpstreamRefusedCaller: {"UPSTREAM_UNAUTHENTICATED", codes.Unauthenticated, http.StatusUnauthorized,
		"Podero does not accept the bearer token of the call. Get a new one."},
	UpstreamRateLimited: {"UPSTREAM_RATE_LIMITED", codes.ResourceExhausted, http.StatusTooManyRequests,
		"Podero limits the rate of requests. Wait as long as the answer says."},
	UpstreamUnavailable: {"UPSTREAM_UNAVAILABLE", codes.Unavailable, http.StatusServiceUnavailable,
		"Podero can't be reached or fails at present."},
	UpstreamCircuitOpen: {"UPSTREAM_CIRCUIT_OPEN", codes.Unavailable, http.StatusServiceUnavailable,
		"Podero failed too often just now and is left alone for a moment. Wait as long as the answer says."},
	Overloaded: {"OVERLOADED", codes.ResourceExhausted, http.StatusTooManyRequests,
		"The service has reached a limit of concurrent calls or connections. Wait as long as the answer says."},
	TokenUnavailable: {"TOKEN_UNAVAILABLE", codes.Unavailable, http.StatusServiceUnavailable,
		"Podero's token endpoint can't be reached or fails at present."},
	TokenRejected: {"TOKEN_REJECTED", codes.Internal, http.StatusInternalServerError,
		"Podero's token endpoint gave no usable access token. The operator must check the token URL and the client credentials."},
	UpstreamTimeout: {"UPSTREAM_TIMEOUT", codes.DeadlineExceeded, http.StatusGatewayTimeout,
		"Podero did not answer in time."},
	CallerCancelled: {"CALLER_CANCELLED", codes.Canceled, StatusClientClosedRequest,
		"The caller went away before the answer."},
	UpstreamUnexpectedStatus: {"UPSTREAM_UNEXPECTED_STATUS", codes.Internal, http.StatusInternalServerError,
		"The upstream URL answered as Podero's API never does. Its operator must check the upstream URL."},
	UpstreamContractViolation: {"UPSTREAM_CONTRACT_VIOLATION", codes.Internal, http.StatusInternalServerError,
		"Podero's answer breaks the contract of its API."},
	NoSuchRoute: {"NO_SUCH_ROUTE", codes.NotFound, http.StatusNotFound,
		"This path does not exist. Compare it with the API's documentation."},
	MethodNotAllowed: {"METHOD_NOT_ALLOWED", codes.Unimplemented, http.StatusMethodNotAllowed,
		"This path does not take this method; the Allow header says which it takes."},
}

// Reason returns the reason that callers program against, such as USER_NOT_FOUND.
func (k Kind) Reason() string { return table[k].reason }

// Code returns the gRPC code of the kind.
func (k Kind) Code() codes.Code { return table[k].code }

// HTTPStatus returns the HTTP status of the kind.
func (k Kind) HTTPStatus() int { return table[k].http }

// Kinds returns every kind, in the table's order.
func Kinds() []Kind {
	kinds := make([]Kind, len(table))
	for i := range kinds {
		kinds[i] = Kind(i)
	}
	return kinds
}

// Reasons returns every reason of the table, without duplicates, in the table's order.
func Reasons() []string {
	var reasons []string
	seen := map[string]bool{}
	for _, row := range table {
		if !seen[row.reason] {
			seen[row.reason] = true
			reasons = append(reasons, row.reason)
		}
	}
	return reasons
}

// HTTPStatus returns the HTTP status that the table pairs with a gRPC code, and 500 for a code that
// is not in the table.
func HTTPStatus(code codes.Code) int {
	for _, row := range table {
		if row.code == code {
			return row.http
		}
	}
	return http.StatusInternalServerError
}

// A Violation says what is wrong with one field of a request and what to do about it.
type Violation struct {
	Field   string
	Message string
}

// An Error is a failed call as its caller sees it. Nothing in it but Cause may depend on a secret,
// a person's data or the text of an upstream's answer; Cause goes to the log and must be fit for
// it.
type Error struct {
	Kind       Kind
	Message    string        // for people; "" stands for the table's
	HTTPStatus int           // what the upstream or the token endpoint answered; 0 if nothing
	Violations []Violation   // of a bad request
	RetryAfter time.Duration // when to try again; 0 for no advice
	Missing    string        // what was not found: the full name of a message, "" for nothing
	OrgID      string        // where it was not found
	Rejected   Credential    // the credential that was rejected; "" if there was none
	Cause      error         // for the log

	// Transient says that another attempt may succeed, but not sooner than in NotBefore.
	Transient bool
	NotBefore time.Duration

	// Local says that no request was sent to Podero.
	Local bool

	// Final says that the service's own retries or limits ended the call, so that a caller's retry
	// would multiply them.
	Final bool
}

// A Credential is a kind of caller credentials.
type Credential string

// The kinds of caller credentials, as the ErrorInfo's metadata names them under RejectedKey.
const (
	BearerToken       Credential = "bearer_token"
	Authorization     Credential = "authorization" // a header that is no bearer token
	ClientCertificate Credential = "client_certificate"
	RejectedKey                  = "rejected_credential"
)

// rejectedMessages are for people whose credentials were rejected. They don't say why, which would help to guess.
var rejectedMessages = map[Credential]string{
	BearerToken: "The bearer token of the call was rejected. Send exactly one Authorization header, with a token " +
		"that this service's issuer gave for it and that has not expired.",
	Authorization: "The Authorization header of the call is no bearer token. Send exactly one, with the scheme Bearer.",
	ClientCertificate: "The client certificate of the call was rejected. Use one with one name, of a CA that this " +
		"service trusts, that has not expired.",
}

// New returns an Error of a kind with its cause, which may be nil.
func New(kind Kind, cause error) *Error { return &Error{Kind: kind, Cause: cause} }

// overloadRetryAfter is the RetryAfter of NewOverloaded.
const overloadRetryAfter = time.Second

// NewOverloaded returns the Error of a call for which a limit of the service or of this machine
// leaves no room, with its cause, which may be nil.
func NewOverloaded(cause error) *Error {
	return &Error{Kind: Overloaded, Cause: cause, RetryAfter: overloadRetryAfter, Local: true, Final: true}
}

// Error describes the failure for the log.
func (e *Error) Error() string {
	text := e.Kind.Reason()
	if e.HTTPStatus != 0 {
		text += " (HTTP status " + strconv.Itoa(e.HTTPStatus) + ")"
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether err is an Error of the given kind.
func Is(err error, kind Kind) bool {
	if err == nil { // as for most lookups
		return false
	}
	var e *Error
	return errors.As(err, &e) && e.Kind == kind
}

// From returns err as an Error. What is not one yet is a bug, unless it says that the call's own
// time is over.
func From(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled):
		return New(CallerCancelled, err)
	case errors.Is(err, context.DeadlineExceeded):
		return New(UpstreamTimeout, err)
	default:
		return New(Internal, err)
	}
}

// deadlineSlack is how much before its deadline by the clock here a call may be ended by its
// caller's deadline: the caller's clock started earlier, by the network's delay.
const deadlineSlack = 50 * time.Millisecond

// FromContext returns the Error of a call whose context ended: UPSTREAM_TIMEOUT if its deadline has
// passed, and CALLER_CANCELLED if the caller left before. At the deadline, a caller's reset of the
// stream often arrives first.
func FromContext(ctx context.Context) *Error {
	cause := context.Cause(ctx)
	deadline, ok := ctx.Deadline()
	if errors.Is(cause, context.DeadlineExceeded) || ok && time.Until(deadline) < deadlineSlack {
		return New(UpstreamTimeout, cause)
	}
	return New(CallerCancelled, cause)
}

// Status returns the error as a gRPC status with all its details.
func (e *Error) Status(requestID string) *status.Status {
	row := table[e.Kind]
	info := &errdetails.ErrorInfo{Reason: row.reason, Domain: Domain, Metadata: e.metadata()}
	details := []protoadapt.MessageV1{info, &errdetails.RequestInfo{RequestId: requestID}}
	if row.code == codes.InvalidArgument {
		details = append(details, badRequest(e.Violations))
	}
	if e.Missing != "" {
		details = append(details, &errdetails.ResourceInfo{
			ResourceType: e.Missing,
			ResourceName: "organizations/" + e.OrgID,
		})
	}
	if e.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(e.RetryAfter)})
	}
	st, err := status.New(row.code, e.message()).WithDetails(details...)
	if err != nil { // only an OK status or an unmarshalable detail
		return status.New(codes.Internal, table[Internal].message)
	}
	return st
}

// metadata returns the metadata of the ErrorInfo, nil if there is none.
func (e *Error) metadata() map[string]string {
	if e.HTTPStatus == 0 && e.Rejected == "" {
		return nil
	}
	metadata := map[string]string{}
	if e.HTTPStatus != 0 {
		metadata["http_status"] = strconv.Itoa(e.HTTPStatus)
	}
	if e.Rejected != "" {
		metadata[RejectedKey] = string(e.Rejected)
	}
	return metadata
}

// message returns the text for people.
func (e *Error) message() string {
	switch {
	case e.Message != "":
		return e.Message
	case e.Rejected != "" && e.Kind == CallerUnauthenticated:
		return rejectedMessages[e.Rejected]
	default:
		return table[e.Kind].message
	}
}

func badRequest(violations []Violation) *errdetails.BadRequest {
	bad := &errdetails.BadRequest{}
	for _, v := range violations {
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: v.Field, Description: v.Message,
		})
	}
	return bad
}
