package gateway

import (
	"math"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"example.com/podero-facade/server/fault"
)

// A Problem is an error as REST callers get it (RFC 9457; contract.md, section 3).
type Problem struct {
	Type      string         `json:"type"`
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail"`
	Code      string         `json:"code"`
	Reason    string         `json:"reason"`
	RequestID string         `json:"request_id"`
	Errors    []FieldProblem `json:"errors,omitzero"`
}

// A FieldProblem says what is wrong with one field of a request.
type FieldProblem struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// NewProblem returns the problem that the status of a failed call becomes. All that it says comes from the
// status and its details, so both protocols say the same.
func NewProblem(st *status.Status) Problem {
	p := Problem{
		Type:   "about:blank",
		Status: fault.HTTPStatus(st.Code()),
		Detail: st.Message(),
		Code:   rpccode.Code_name[int32(st.Code())],
	}
	p.Title = title(p.Status)
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			p.Reason = d.GetReason()
		case *errdetails.RequestInfo:
			p.RequestID = d.GetRequestId()
		case *errdetails.BadRequest:
			p.Errors = []FieldProblem{}
			for _, v := range d.GetFieldViolations() {
				p.Errors = append(p.Errors, FieldProblem{v.GetField(), v.GetDescription()})
			}
		}
	}
	return p
}

// writeProblem answers with the status of a failed call.
func writeProblem(w http.ResponseWriter, st *status.Status) {
	p := NewProblem(st)
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.RetryInfo:
			seconds := math.Ceil(d.GetRetryDelay().AsDuration().Seconds())
			w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
		case *errdetails.ErrorInfo:
			if p.Status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", challenge(d))
			}
		}
	}
	body, err := json.Marshal(p)
	if err != nil { // text that is not UTF-8, which a status can't have
		body = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}

// challenge returns the WWW-Authenticate header of a call that was not authenticated (RFC 6750, section 3.1).
func challenge(info *errdetails.ErrorInfo) string {
	if info.GetMetadata()[fault.RejectedKey] == string(fault.BearerToken) {
		return `Bearer error="invalid_token"`
	}
	return "Bearer"
}

// title is the phrase of a status; "about:blank" as type asks for exactly that (RFC 9457, section 4.2.1).
func title(httpStatus int) string {
	if httpStatus == fault.StatusClientClosedRequest {
		return "Client Closed Request"
	}
	return http.StatusText(httpStatus)
}
