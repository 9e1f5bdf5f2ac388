package renew_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/podero-facade/server/renew"
)

// TestAPanicIsOneFailure has a renewal that panics at first, and then fails and succeeds as others do.
func TestAPanicIsOneFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		loop := renew.New("something", slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		var began []time.Time
		loop.Run(ctx, func(context.Context) (time.Duration, error) {
			began = append(began, time.Now())
			switch len(began) {
			case 1, 2:
				panic("hunter2")
			case 3:
				return 0, errors.New("no")
			default:
				return 2 * time.Hour, nil
			}
		})
		if len(began) != 4 {
			t.Fatalf("%d renewals, want 4", len(began))
		}
		if took := began[3].Sub(began[0]); took == 0 || took > 2*time.Second {
			t.Errorf("renewed after %v, want a backoff below 2s", took)
		}
		for part, want := range map[string]int{"msg=panic": 2, "can't be fetched": 1, "fetched again": 1, "hunter2": 0} {
			if got := strings.Count(log.String(), part); got != want {
				t.Errorf("%q is in the log %d times, want %d:\n%s", part, got, want, log.String())
			}
		}
	})
}
