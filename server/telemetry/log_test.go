package telemetry_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/podero-facade/server/telemetry"
)

func TestLinesThatSayTheSameAreSuppressedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log, flush := telemetry.NewLogger(&out, telemetry.LogJSON, slog.LevelDebug)
		for range 3 { // seconds
			for range 500 {
				log.Warn("lookup failed", "reason", "OVERLOADED", "request_id", "x")
				log.With("a", "b").Warn("lookup failed", "reason", "UPSTREAM_TIMEOUT")
				log.Debug("lookup")
			}
			log.Error("panic")
			time.Sleep(1100 * time.Millisecond)
		}
		flush()
		for part, want := range map[string]int{
			`"msg":"lookup failed","reason":"OVERLOADED"`:               30,
			`"msg":"lookup failed","a":"b","reason":"UPSTREAM_TIMEOUT"`: 30,
			`"msg":"lookup"`: 1500,
			`"msg":"panic"`:  3,
			`"msg":"log lines were suppressed, because there were too many alike","line":"lookup failed","reason":"OVERLOADED","suppressed":490`: 3,
		} {
			if got := strings.Count(out.String(), part); got != want {
				t.Errorf("%s: %d lines, want %d", part, got, want)
			}
		}
	})
}

// stalled is a reader that reads once it is told to.
type stalled struct {
	reads chan struct{}
	bytes.Buffer
}

func (s *stalled) Write(p []byte) (int, error) {
	<-s.reads
	return s.Buffer.Write(p)
}

func TestAStalledReaderOfTheLogDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := stalled{reads: make(chan struct{})}
		log, flush := telemetry.NewLogger(&out, telemetry.LogText, slog.LevelDebug)
		start := time.Now()
		for range 10_000 {
			log.Debug("lookup", "padding", strings.Repeat("x", 200))
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("it took %v", took)
		}
		close(out.reads)
		synctest.Wait()
		if !strings.Contains(out.String(), "log lines were dropped, because their reader was too slow") {
			t.Error("nothing says that lines were dropped")
		}
		flush()
	})
}
