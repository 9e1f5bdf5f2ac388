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

func TestEachPanicCounts(t *testing.T) {
	recovered := func(value any) error {
		defer func() { recovery.Write(t.Context(), slog.New(slog.DiscardHandler), recover()) }()
		panic(value)
	}
	before := recovery.Count()
	_ = recovered("hunter2")
	err := recovery.Error("hunter2")
	if got := recovery.Count() - before; got != 2 {
		t.Errorf("%d panics counted, want 2", got)
	}
	if text := err.Error(); !strings.Contains(text, "type string") || strings.Contains(text, "hunter2") {
		t.Errorf("error %q, want the type without the value", text)
	}
}
