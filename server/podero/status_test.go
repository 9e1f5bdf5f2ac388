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
			if wait, _ := retryAfter(response); wait < time.Until(date) || wait >= time.Until(date)+time.Second || wait%time.Second != 0 {
				t.Errorf("%v for a date in %v", wait, time.Until(date))
			}
			time.Sleep(100 * time.Millisecond)
		}
		if wait, given := retryAfter(response); wait != 0 || given {
			t.Errorf("%v for a date that is over", wait)
		}
	})
}

func TestRetryAfterInSeconds(t *testing.T) {
	for header, want := range map[string]struct {
		wait  time.Duration
		given bool
	}{
		"0": {0, true}, "1": {time.Second, true}, "007": {7 * time.Second, true}, "86400": {24 * time.Hour, true},
		"86401": {24 * time.Hour, true}, "2147483648": {24 * time.Hour, true}, "9223372036854775807": {24 * time.Hour, true},
		"18446744073709551616": {24 * time.Hour, true}, strings.Repeat("9", 1000): {24 * time.Hour, true},
		"": {}, "-1": {}, "-0": {}, "+1": {}, "1.5": {}, "1e3": {}, "0x1": {}, "soon": {}, "1,2": {}, "-99999999999999999999": {},
		"Fri, 31 Dec 9999 23:59:59 GMT": {24 * time.Hour, true},
	} {
		wait, given := retryAfter(&http.Response{Header: http.Header{"Retry-After": {header}}})
		if wait != want.wait || given != want.given {
			t.Errorf("%.30q: %v, %v, want %v, %v", header, wait, given, want.wait, want.given)
		}
	}
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
