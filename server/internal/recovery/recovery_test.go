package recovery_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"example.com/podero-facade/server/internal/recovery"
)

func TestAPanicIsLoggedWithoutItsValue(t *testing.T) {
	var log bytes.Buffer
	func() {
		defer recovery.Log(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
		panic("hunter2")
	}()
	got := log.String()
	if !strings.Contains(got, "type=string") || !strings.Contains(got, "recovery_test.go") {
		t.Errorf("log = %q, want the type and the stack", got)
	}
	if strings.Contains(got, "hunter2") {
		t.Errorf("log = %q, want no value", got)
	}
}
