package liblog_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"example.com/podero-facade/server/internal/liblog"
)

func TestValuesAreLeftOut(t *testing.T) {
	var log bytes.Buffer
	logger := liblog.New(slog.New(slog.NewTextHandler(&log, nil)), "go-redis")
	logger.Printf(context.Background(), "failed to dial %s after %d attempts: %v", "hunter2", 5, errors.New("hunter2"))
	want := `level=WARN msg="message of a library" library=go-redis ` +
		`message="failed to dial (string) after (int) attempts: (*errors.errorString)" suppressed=0`
	if got := log.String(); !strings.Contains(got, want) || strings.Contains(got, "hunter2") {
		t.Errorf("log = %s, want %s", got, want)
	}
}

func TestAMessageIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := liblog.New(slog.New(slog.NewTextHandler(&log, nil)), "go-redis")
		for range 120 {
			logger.Printf(t.Context(), "failed: %v", "a reason")
			time.Sleep(time.Second)
		}
		logger.Printf(t.Context(), "another")
		got := log.String()
		if strings.Count(got, "failed: ") != 2 || !strings.Contains(got, "suppressed=59") || !strings.Contains(got, "another") {
			t.Errorf("log = %s, want two lines, the second with 59 suppressed, and another", got)
		}
	})
}

func TestASinkLogsWarningsAndErrorsWithoutValues(t *testing.T) {
	var log bytes.Buffer
	logger := logr.New(liblog.NewSink(liblog.New(slog.New(slog.NewTextHandler(&log, nil)), "opentelemetry"))).WithName("hunter2").WithValues("a", "hunter2")
	logger.Error(errors.New("hunter2"), "parse headers", "input", "hunter2")
	logger.V(1).Info("limit reached", "limit", 7)
	logger.V(4).Info("created", "config", "hunter2")
	got := log.String()
	for _, want := range []string{
		`level=ERROR msg="message of a library" library=opentelemetry message="parse headers error=(*errors.errorString) input=(string)"`,
		`level=WARN msg="message of a library" library=opentelemetry message="limit reached limit=(int)"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("log = %s, want %s", got, want)
		}
	}
	if strings.Contains(got, "hunter2") || strings.Count(got, "\n") != 2 {
		t.Errorf("log = %s, want two lines without values", got)
	}
}
