package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzHeaders sends any values of the headers that the service reads: the answer is JSON, is no failure
// of the service's, and has a request ID that can stand in a log line.
func FuzzHeaders(f *testing.F) {
	for _, seed := range [][4]string{
		{"Bearer a.b.c", "request-7", "5S", "https://portal.example"},
		{"bearer  x, Bearer y", "a b", "99999999H", "null"},
		{"Basic \x00", strings.Repeat("x", 129), "-1n", ""},
		{"", "\u00e9", "1", "\r\n"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	_, service := lookups(f)
	handler, _ := handlerOf(f, service, routes)
	f.Fuzz(func(t *testing.T, authorization, requestID, timeout, other string) {
		request := httptest.NewRequest(http.MethodGet, "/api/partners/v2.0/org/"+orgID+"/users/by-ext-id/x", nil)
		request.Header["Authorization"] = []string{authorization}
		request.Header["X-Request-Id"] = []string{requestID}
		request.Header["Grpc-Timeout"] = []string{timeout}
		for _, name := range []string{"Grpc-Metadata-X", "X-Forwarded-For", "X-Forwarded-Host", "Accept", "Content-Type", "Te", "Origin"} {
			request.Header[name] = []string{other}
		}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		// A deadline may be over before it begins.
		if recorder.Code >= 500 && recorder.Code != http.StatusGatewayTimeout || !strings.HasPrefix(recorder.Body.String(), "{") {
			t.Fatalf("%d %s", recorder.Code, recorder.Body)
		}
		id := recorder.Header().Get("X-Request-Id")
		if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("request ID %q", id)
		}
	})
}
