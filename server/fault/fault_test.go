package fault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/recovery"
)

func TestEveryKindIsWhole(t *testing.T) {
	kinds := fault.Kinds()
	if len(kinds) < 15 || len(fault.Reasons()) < 15 {
		t.Fatalf("%d kinds, %d reasons", len(kinds), len(fault.Reasons()))
	}
	for _, kind := range kinds {
		st := fault.New(kind, nil).Status("request-7")
		if kind.Reason() == "" || st.Code() != kind.Code() || st.Message() == "" || len(st.Details()) < 2 {
			t.Errorf("%s: %v", kind.Reason(), st)
		}
		if status := kind.HTTPStatus(); status < 400 || status != fault.HTTPStatus(kind.Code()) {
			t.Errorf("%s: HTTP status %d", kind.Reason(), status)
		}
	}
	if got := fault.HTTPStatus(codes.DataLoss); got != 500 {
		t.Errorf("HTTP status %d for a code that is not in the table", got)
	}
}

// TestTheREADMEHasTheTable compares codes and statuses of each reason. One that has two separates
// them by a semicolon.
func TestTheREADMEHasTheTable(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| ([^|]+) \\| ([0-9; ]+) \\|").FindAllStringSubmatch(string(readme), -1) {
		documented[row[1]] = strings.ReplaceAll(row[2], "passthrough: ", "") + " | " + row[3]
	}
	codes, statuses := map[string][]string{}, map[string][]string{}
	for _, kind := range fault.Kinds() {
		reason := kind.Reason()
		codes[reason] = append(codes[reason], rpccode.Code_name[int32(kind.Code())])
		statuses[reason] = append(statuses[reason], strconv.Itoa(kind.HTTPStatus()))
	}
	for reason := range codes {
		want := strings.Join(codes[reason], "; ") + " | " + strings.Join(statuses[reason], "; ")
		if got := documented[reason]; got != want {
			t.Errorf("%s: the README says %q, the table %q", reason, got, want)
		}
		delete(documented, reason)
	}
	for reason := range documented {
		t.Errorf("%s is in README.md alone", reason)
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

func TestAPanicWhileConnectingKeepsItsStack(t *testing.T) {
	err := fault.Network(fmt.Errorf("connect: %w", recovery.Error("hunter2")))
	if text := err.Error(); !strings.Contains(text, "fault_test.go") || strings.Contains(text, "hunter2") {
		t.Errorf("error %q, want the stack without the panic's value", text)
	}
}
