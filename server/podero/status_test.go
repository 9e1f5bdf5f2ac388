package podero

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestADateToRetryAtIsNeverReadTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		date := time.Now().Truncate(time.Second).Add(10 * time.Second)
		response := &http.Response{Header: http.Header{"Retry-After": {date.UTC().Format(http.TimeFormat)}}}
		for time.Now().Before(date) {
			if wait := retryAfter(response); wait < time.Until(date) || wait >= time.Until(date)+time.Second || wait%time.Second != 0 {
				t.Errorf("%v for a date in %v", wait, time.Until(date))
			}
			time.Sleep(100 * time.Millisecond)
		}
		if wait := retryAfter(response); wait != 0 {
			t.Errorf("%v for a date that is over", wait)
		}
	})
}
