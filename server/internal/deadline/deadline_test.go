package deadline_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"example.com/podero-facade/server/internal/deadline"
)

func TestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where no time passes
		for _, c := range []struct {
			caller, limit, want time.Duration
			isCallers           bool
		}{
			{0, time.Second, time.Second, false},
			{2 * time.Second, time.Second, time.Second, false},
			{time.Second, 2 * time.Second, 985 * time.Millisecond, true},
			{100 * time.Millisecond, time.Second, 90 * time.Millisecond, true},
			{time.Second, time.Second, 985 * time.Millisecond, true},
			{-time.Second, time.Second, -900 * time.Millisecond, true},
		} {
			ctx, cancel := t.Context(), func() {}
			if c.caller != 0 {
				ctx, cancel = context.WithTimeout(ctx, c.caller)
			}
			if got, isCallers := deadline.Left(ctx, c.limit); got != c.want || isCallers != c.isCallers {
				t.Errorf("%v, %v: got %v, %v; want %v, %v", c.caller, c.limit, got, isCallers, c.want, c.isCallers)
			}
			cancel()
		}
	})
}
