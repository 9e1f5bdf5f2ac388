package server_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// TestACallersDeadlineIsATimeoutWithDetails has calls that end with their callers' deadline. The status has to arrive
// with its details before the deadline, and no more than 20 ms before it.
func TestACallersDeadlineIsATimeoutWithDetails(t *testing.T) {
	const calls = 10
	s := start(t, newUpstream(t, silent, nil), nil)
	for _, deadline := range []time.Duration{150 * time.Millisecond, 500 * time.Millisecond} {
		for protocol, call := range map[string]func() answer{
			"gRPC": func() answer {
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				return lookupGRPC(ctx, t, s, theUser(), nil)
			},
			"REST": func() answer {
				return lookupREST(t.Context(), t, s, theUser(), http.Header{"Grpc-Timeout": {fmt.Sprintf("%dm", deadline.Milliseconds())}})
			},
		} {
			detailed := 0
			for range calls {
				begun := time.Now()
				got := call()
				if took := time.Since(begun); got.code != codes.DeadlineExceeded || took < deadline-20*time.Millisecond {
					t.Errorf("%s, %v: got %v after %v", protocol, deadline, got.code, took)
				}
				if got.reason == "UPSTREAM_TIMEOUT" {
					detailed++
				}
			}
			if detailed < calls/2 { // the clock of a busy machine may be late
				t.Errorf("%s, %v: %d of %d statuses came with details", protocol, deadline, detailed, calls)
			}
		}
	}
	if got := s.metric(t, `podero_facade_lookups_total{reason="CALLER_CANCELLED"}`); got != "0" {
		t.Errorf("%s calls were taken for cancelled ones", got)
	}
	if strings.Contains(s.log.String(), "CALLER_CANCELLED") {
		t.Error("a call was logged as cancelled")
	}
}
