package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// admin asks the admin port and returns status and body.
func (s *service) admin(t testing.TB, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.AdminAddr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.rest.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// metric returns the value of a series, named as /metrics prints it.
func (s *service) metric(t testing.TB, series string) string {
	t.Helper()
	_, body := s.admin(t, "/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// await waits until a metric has a value.
func (s *service) await(t *testing.T, series, value string) {
	t.Helper()
	for deadline := time.Now().Add(testLimit); s.metric(t, series) != value; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is %s, want %s", series, s.metric(t, series), value)
		}
	}
}
