package podero

import (
	"fmt"
	"net/http"
	"strings"
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

func TestViolationsFitIntoAHeader(t *testing.T) {
	for text, want := range map[string]int{"m": 10, strings.Repeat("m", 200): 10, strings.Repeat("\U0001f600", 200): 2} {
		detail := fmt.Sprintf(`,{"loc":["path",%q],"msg":%q}`, text, text)
		list := violations([]byte(`{"detail":[` + strings.Repeat(detail, 12)[1:] + `]}`))
		size := 0
		for _, v := range list {
			size += len(v.Field) + len(v.Message)
		}
		if len(list) != want || size > 4<<10 {
			t.Errorf("%d violations of %d bytes, want %d", len(list), size, want)
		}
	}
}
