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
