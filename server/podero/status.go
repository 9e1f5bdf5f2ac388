package podero

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
)

const (
	maxViolations     = 10
	maxViolationBytes = 4 << 10 // in all: many clients accept only 8 KiB of headers, a status included
	maxViolationChars = 200     // of a field, and of a message
	minRetryAfter     = time.Second
	maxRetryAfter     = 60 * time.Second
	maxRateLimitWait  = 2 * time.Second // longest Retry-After of a 429 after which Retry tries again

	// veryLong replaces any longer Retry-After. No call has that much time, and sums with it don't
	// overflow.
	veryLong = 24 * time.Hour

	// escapedSlash is a slash in an ID. Many web frameworks find no route for such a path, so that
	// even a 404 that is not JSON means that there is no such document.
	escapedSlash = "%2F"
)

// statusError maps a response other than 200 to an error.
func (c *Client) statusError(response *http.Response, body []byte, key Key) error {
	status := response.StatusCode
	e := &fault.Error{HTTPStatus: status, Kind: fault.UpstreamUnexpectedStatus}
	switch {
	case status == http.StatusUnauthorized && c.config.Passthrough:
		e.Kind, e.Rejected = fault.UpstreamRefusedCaller, fault.BearerToken
	case status == http.StatusUnauthorized:
		e.Kind = fault.UpstreamUnauthenticated
	case status == http.StatusTooManyRequests:
		e.Kind = fault.UpstreamRateLimited
		wait, given := retryAfter(response)
		e.NotBefore = wait
		e.RetryAfter = min(max(wait, minRetryAfter), maxRetryAfter)
		e.Transient = given && wait <= maxRateLimitWait
	case 500 <= status && status <= 599:
		e.Kind = fault.UpstreamUnavailable
		e.NotBefore, _ = retryAfter(response)
		e.Transient = status == http.StatusBadGateway || status == http.StatusServiceUnavailable ||
			status == http.StatusGatewayTimeout
	case status == http.StatusNotFound && (strings.Contains(key.Path, escapedSlash) || isJSON(response, body)):
		return NotFound(key)
	case status == http.StatusForbidden && isJSON(response, body):
		e.Kind = fault.UpstreamForbidden
	case (status == http.StatusBadRequest || status == http.StatusUnprocessableEntity) && isJSON(response, body):
		e.Kind = fault.UpstreamRejectedRequest
		e.Violations = violations(body)
	default:
		e.Cause = fmt.Errorf("content type %q", mediaType(response))
	}
	return e
}

// NotFound returns the error for a key whose document does not exist.
func NotFound(key Key) *fault.Error {
	return &fault.Error{
		Kind:       key.Resource.Missing,
		HTTPStatus: http.StatusNotFound,
		Missing:    string(proto.MessageName(key.Resource.Message)),
		OrgID:      key.OrgID,
	}
}

// isJSON reports whether a response is JSON, as all responses of Podero's API are. Others come from
// a proxy, a web server or another path.
func isJSON(response *http.Response, body []byte) bool {
	media := mediaType(response)
	return (media == "application/json" || strings.HasSuffix(media, "+json")) &&
		jsontext.Value(body).IsValid()
}

// retryAfter parses the Retry-After header, which has seconds or a date (RFC 9110, section 10.2.3),
// and reports whether there is one. An invalid value, or a date in the past, is ignored.
func retryAfter(response *http.Response) (wait time.Duration, given bool) {
	header := response.Header.Get("Retry-After")
	seconds, err := strconv.ParseUint(header, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return veryLong, true
	case err == nil:
		return time.Duration(min(seconds, uint64(veryLong/time.Second))) * time.Second, true
	}
	date, err := http.ParseTime(header)
	if err != nil {
		return 0, false
	}
	if wait = min(time.Until(date), veryLong); wait <= 0 {
		return 0, false
	}
	return (wait + time.Second - 1).Truncate(time.Second), true // rounded up, so never too early
}

// violations parses Podero's list of invalid fields: {"detail": [{"loc": […], "msg": "…"}]}. It
// returns nil for a body of another form.
func violations(body []byte) []fault.Violation {
	var rejection struct {
		Detail []struct {
			Loc []any  `json:"loc"`
			Msg string `json:"msg"`
		} `json:"detail"`
	}
	if json.Unmarshal(body, &rejection) != nil {
		return nil
	}
	var list []fault.Violation
	size := 0
	for _, detail := range rejection.Detail[:min(len(rejection.Detail), maxViolations)] {
		violation := fault.Violation{Field: field(detail.Loc), Message: truncate(detail.Msg, maxViolationChars)}
		if size += len(violation.Field) + len(violation.Message); size > maxViolationBytes {
			break
		}
		list = append(list, violation)
	}
	return list
}

// field returns the name of the field in a loc such as ["path", "external_id"]. It omits the part
// of the HTTP request, which callers of this service don't see.
func field(loc []any) string {
	var parts []string
	for i, part := range loc {
		if i == 0 && len(loc) > 1 && (part == "path" || part == "query" || part == "body" || part == "header") {
			continue
		}
		parts = append(parts, fmt.Sprint(part))
	}
	return truncate(strings.Join(parts, "."), maxViolationChars)
}

// truncate returns the first n characters of s.
func truncate(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n])
}
