package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// answer is what a caller got, in a form that both protocols share.
type answer struct {
	user map[string]any // nil, string, float64, bool or time.Time by field; nil if the call failed

	code       codes.Code
	reason     string
	message    string
	requestID  string
	retryAfter time.Duration
	violations []violation

	cache    string            // what the answer says of the cache: its state and age
	metadata map[string]string // of the ErrorInfo; gRPC alone
	resource string            // type and name of the ResourceInfo; gRPC alone
	http     *http.Response    // REST alone
	body     string            // REST alone
}

type violation struct{ field, message string }

// protocols are the two ways to call the service. header has what the caller sends beside the request.
var protocols = []struct {
	name   string
	lookup func(context.Context, testing.TB, *service, *userv1.GetUserByExternalIdRequest, http.Header) answer
}{{"gRPC", lookupGRPC}, {"REST", lookupREST}}

// overBoth runs a test over each protocol.
func overBoth(t *testing.T, s *service, test func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer)) {
	t.Helper()
	for _, protocol := range protocols {
		t.Run(protocol.name, func(t *testing.T) {
			test(t, func(request *userv1.GetUserByExternalIdRequest, header http.Header) answer {
				return protocol.lookup(t.Context(), t, s, request, header)
			})
		})
	}
}

func theUser() *userv1.GetUserByExternalIdRequest {
	return &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: externalID}
}

func lookupGRPC(
	ctx context.Context, t testing.TB, s *service, request *userv1.GetUserByExternalIdRequest, header http.Header,
) answer {
	t.Helper()
	for name, values := range header {
		for _, value := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(name), value)
		}
	}
	var sent metadata.MD
	response, err := s.grpc.GetUserByExternalId(ctx, request, grpc.Header(&sent), grpc.WaitForReady(!s.failFast))
	a := answer{
		requestID: strings.Join(sent.Get("x-request-id"), ","),
		cache:     strings.Join(append(sent.Get("x-cache"), sent.Get("age")...), " "),
	}
	if err == nil {
		a.user = fieldsOfMessage(response.GetUser())
		return a
	}
	st := status.Convert(err)
	a.code, a.message = st.Code(), st.Message()
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() != "podero-facade" {
				t.Errorf("domain %q", d.GetDomain())
			}
			a.reason, a.metadata = d.GetReason(), d.GetMetadata()
		case *errdetails.RequestInfo:
			if id := d.GetRequestId(); len(sent) > 0 && id != a.requestID {
				t.Errorf("request ID %q in the error, %q in the metadata", id, a.requestID)
			}
			a.requestID = d.GetRequestId()
		case *errdetails.ResourceInfo:
			a.resource = d.GetResourceType() + " " + d.GetResourceName()
		case *errdetails.RetryInfo:
			a.retryAfter = d.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				a.violations = append(a.violations, violation{v.GetField(), v.GetDescription()})
			}
		default:
			t.Errorf("unexpected detail %T", detail)
		}
	}
	return a
}

// fieldsOfMessage returns the fields of a user as the JSON of Podero would have them.
func fieldsOfMessage(user *userv1.User) map[string]any {
	message := user.ProtoReflect()
	fields := map[string]any{}
	for i := range message.Descriptor().Fields().Len() {
		field := message.Descriptor().Fields().Get(i)
		name, value := string(field.Name()), message.Get(field)
		switch {
		case field.HasPresence() && !message.Has(field):
			fields[name] = nil
		case field.Kind() == protoreflect.EnumKind:
			fields[name] = strings.ToLower(strings.TrimPrefix(userv1.Role(value.Enum()).String(), "ROLE_"))
		case field.Kind() == protoreflect.Int32Kind:
			fields[name] = float64(value.Int())
		case field.Kind() == protoreflect.MessageKind:
			fields[name] = value.Message().Interface().(*timestamppb.Timestamp).AsTime()
		default:
			fields[name] = value.Interface()
		}
	}
	return fields
}

// restPath returns the path and query of a lookup.
func restPath(request *userv1.GetUserByExternalIdRequest) string {
	path := "/api/partners/v2.0/org/" + url.PathEscape(request.GetOrgId()) +
		"/users/by-ext-id/" + url.PathEscape(request.GetExternalId())
	if request.GetIncludeDeleted() {
		path += "?include_deleted=true"
	}
	return path
}

func lookupREST(
	ctx context.Context, t testing.TB, s *service, request *userv1.GetUserByExternalIdRequest, header http.Header,
) answer {
	t.Helper()
	return s.call(ctx, t, http.MethodGet, restPath(request), header)
}

// call makes a REST call and checks what holds for every answer.
func (s *service) call(ctx context.Context, t testing.TB, method, path string, header http.Header) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, s.scheme+"://"+s.HTTPAddr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		request.Header = header.Clone()
	}
	response, err := s.rest.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return answer{code: status.FromContextError(ctx.Err()).Code()}
		}
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := response.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	if got := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'") {
		t.Errorf("Content-Security-Policy %q", got)
	}
	checkDescribed(t, method, path, response, body)
	a := answer{http: response, body: string(body), requestID: response.Header.Get("X-Request-Id")}
	a.cache = strings.TrimSpace(response.Header.Get("X-Cache") + " " + response.Header.Get("Age"))
	if response.StatusCode == http.StatusOK {
		if got := response.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type %q", got)
		}
		if method != http.MethodHead {
			a.user = fieldsOfJSON(t, body)
		}
		return a
	}
	a.readProblem(t, response, body)
	return a
}

func (a *answer) readProblem(t testing.TB, response *http.Response, body []byte) {
	t.Helper()
	if got := response.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	var problem struct {
		Type, Title, Detail, Code, Reason string
		Status                            int
		RequestID                         string `json:"request_id"`
		Errors                            []struct{ Field, Message string }
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&problem); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if problem.Type != "about:blank" || problem.Title == "" || problem.Status != response.StatusCode {
		t.Errorf("type, title or status of %s", body)
	}
	if problem.RequestID == "" || problem.RequestID != a.requestID {
		t.Errorf("request ID %q in the problem, %q in the header", problem.RequestID, a.requestID)
	}
	if err := a.code.UnmarshalJSON([]byte(strconv.Quote(problem.Code))); err != nil {
		t.Error(err)
	}
	a.reason, a.message = problem.Reason, problem.Detail
	for _, e := range problem.Errors {
		a.violations = append(a.violations, violation{e.Field, e.Message})
	}
	if after := response.Header.Get("Retry-After"); after != "" {
		seconds, err := strconv.Atoi(after)
		if err != nil {
			t.Error(err)
		}
		a.retryAfter = time.Duration(seconds) * time.Second
	}
}

// fieldsOfJSON returns the fields of a user's document. Times are instants.
func fieldsOfJSON(t testing.TB, document []byte) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(document, &fields); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	for _, name := range []string{"last_login", "joined_at"} {
		if text, ok := fields[name].(string); ok {
			fields[name] = instant(t, text)
		}
	}
	return fields
}

// instant reads a time in RFC 3339, and without an offset as UTC.
func instant(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		if at, err = time.Parse("2006-01-02T15:04:05.999999999", text); err != nil {
			t.Fatal(err)
		}
	}
	return at.UTC()
}
