package fault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"

	"example.com/podero-facade/server/fault"
)

func TestEveryKindIsWholeAndDocumented(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := fault.Reasons()
	if len(reasons) < 15 {
		t.Fatalf("%d reasons", len(reasons))
	}
	seen := map[string]bool{}
	for kind := fault.Internal; kind <= fault.MethodNotAllowed; kind++ {
		st := fault.New(kind, nil).Status("request-7")
		if st.Code() != kind.Code() || st.Message() == "" || len(st.Details()) < 2 {
			t.Errorf("%s: %v", kind.Reason(), st)
		}
		status := fault.HTTPStatus(kind.Code())
		if status < 400 {
			t.Errorf("%s: HTTP status %d", kind.Reason(), status)
		}
		row := fmt.Sprintf("| `%s` | %s", kind.Reason(), rpccode.Code_name[int32(kind.Code())])
		if !seen[kind.Reason()] && !strings.Contains(string(readme), row) {
			t.Errorf("README.md has no row %s", row)
		}
		seen[kind.Reason()] = true
	}
	for _, reason := range reasons {
		if !seen[reason] {
			t.Errorf("%s is no kind's", reason)
		}
	}
	if got := fault.HTTPStatus(codes.DataLoss); got != 500 {
		t.Errorf("HTTP status %d for a code that is not in the table", got)
	}
}

func TestFrom(t *testing.T) {
	table := fault.New(fault.UserNotFound, nil)
	for err, want := range map[error]fault.Kind{
		fmt.Errorf("wrapped: %w", table):                         fault.UserNotFound,
		context.Canceled:                                         fault.CallerCancelled,
		fmt.Errorf("wrapped: %w", context.DeadlineExceeded):      fault.UpstreamTimeout,
		errors.New("the person Peter Schmidt could not be read"): fault.Internal,
	} {
		got := fault.From(err)
		if got.Kind != want || strings.Contains(got.Status("x").Message(), "Peter") {
			t.Errorf("%v became %v", err, got.Status("x"))
		}
	}
	failure := &fault.Error{Kind: fault.UpstreamRateLimited, HTTPStatus: 429, RetryAfter: time.Second, Cause: errors.New("why")}
	if text := failure.Error(); text != "UPSTREAM_RATE_LIMITED (HTTP status 429): why" {
		t.Error(text)
	}
}

// BenchmarkStatus is what the error table costs a call that fails.
func BenchmarkStatus(b *testing.B) {
	for _, kind := range []fault.Kind{fault.UserNotFound, fault.UpstreamCircuitOpen, fault.InvalidRequest} {
		b.Run(kind.Reason(), func(b *testing.B) {
			b.ReportAllocs()
			failure := failed(kind)
			for b.Loop() {
				_ = failure.Status("request-7").Err()
			}
		})
	}
}

// failed returns an error with all the details that its kind can have.
func failed(kind fault.Kind) *fault.Error {
	failure := fault.New(kind, nil)
	failure.HTTPStatus, failure.RetryAfter = 404, time.Second
	failure.Violations = []fault.Violation{{Field: "org_id", Message: "must be a valid UUID"}}
	return failure
}

func TestAFailureTakesFewAllocations(t *testing.T) {
	for kind, most := range map[fault.Kind]float64{fault.UserNotFound: 32, fault.UpstreamCircuitOpen: 28, fault.InvalidRequest: 34} {
		failure := failed(kind)
		if got := testing.AllocsPerRun(1000, func() { _ = failure.Status("request-7").Err() }); got > most {
			t.Errorf("%s: %v allocations, at most %v are known to be needed", kind.Reason(), got, most)
		}
	}
}
