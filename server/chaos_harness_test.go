//go:build chaos

package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sort"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

// randomUser returns a request for a random user, so that lookups are not coalesced.
func randomUser() *userv1.GetUserByExternalIdRequest {
	return &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: fmt.Sprint(rand.IntN(everybody))}
}

// lookups returns a lookupFunc that alternates between gRPC and REST. Its connections are closed
// after the test.
func (s *service) lookups(t *testing.T) lookupFunc {
	t.Helper()
	to, closeAll := clients(t, s, 4)
	transport := &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}
	t.Cleanup(func() {
		closeAll()
		transport.CloseIdleConnections()
	})
	return func(ctx context.Context, i int) (codes.Code, string) {
		if i%2 == 0 {
			return reasonGRPC(to[i/2%len(to)].GetUserByExternalId(ctx, randomUser()))
		}
		return s.reasonREST(ctx, transport)
	}
}

// warmUp makes single calls until several in a row have succeeded, so that no fault is injected
// while the service still starts.
func warmUp(t *testing.T, lookup lookupFunc) {
	t.Helper()
	const enough = 8
	end := time.Now().Add(testLimit)
	for i, succeeded := 0, 0; succeeded < enough; i++ {
		if time.Now().After(end) {
			t.Fatal("no successful calls before the fault")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if code, _ := lookup(ctx, i); code == codes.OK {
			succeeded++
		} else {
			succeeded = 0
		}
		cancel()
	}
}

// reasonGRPC returns the code and the reason of a gRPC response.
func reasonGRPC(_ *userv1.GetUserByExternalIdResponse, err error) (codes.Code, string) {
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return st.Code(), info.GetReason()
		}
	}
	return st.Code(), ""
}

// reasonREST makes a REST call and returns its gRPC code and its reason.
func (s *service) reasonREST(ctx context.Context, transport *http.Transport) (codes.Code, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTPAddr().String()+restPath(randomUser()), nil)
	if err != nil {
		return codes.Internal, err.Error()
	}
	if end, ok := ctx.Deadline(); ok {
		request.Header.Set("Grpc-Timeout", fmt.Sprintf("%dm", max(1, time.Until(end).Milliseconds())))
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return status.FromContextError(err).Code(), ""
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return status.FromContextError(err).Code(), ""
	}
	if response.StatusCode == http.StatusOK {
		return codes.OK, ""
	}
	var problem struct {
		Code   codes.Code
		Reason string
	}
	if err := json.Unmarshal(body, &problem); err != nil {
		return codes.Internal, err.Error()
	}
	return problem.Code, problem.Reason
}

// succeeded returns the fraction of calls that succeeded.
func (c calls) succeeded() float64 {
	if len(c) == 0 {
		return 0
	}
	return 1 - float64(c.failed())/float64(len(c))
}

// goodput returns the number of successful responses a second between two times.
func (c calls) goodput(from, to time.Time) float64 {
	n := 0
	for _, call := range c {
		if end := call.begun.Add(call.took); call.code == codes.OK && !end.Before(from) && end.Before(to) {
			n++
		}
	}
	return float64(n) / to.Sub(from).Seconds()
}

// because returns the calls that failed with a reason.
func (c calls) because(reason string) calls {
	var some calls
	for _, call := range c {
		if call.reason == reason {
			some = append(some, call)
		}
	}
	return some
}

// failures formats the number of failures by code and reason.
func (c calls) failures() string {
	counts := map[string]int{}
	for _, call := range c {
		if call.code != codes.OK {
			counts[strings.TrimSpace(call.code.String()+" "+call.reason)]++
		}
	}
	var list []string
	for what, n := range counts {
		list = append(list, fmt.Sprintf("%d %s", n, what))
	}
	sort.Strings(list)
	return "[" + strings.Join(list, ", ") + "]"
}

// lastFailure returns when the last failed call began, relative to from, or 0.
func (c calls) lastFailure(from time.Time) (last time.Duration) {
	for _, call := range c {
		if call.code != codes.OK {
			last = max(last, call.begun.Sub(from))
		}
	}
	return last
}

// doAfter does something after a delay, and sends the time at which it began once it is done.
func doAfter(delay time.Duration, do func()) <-chan time.Time {
	done := make(chan time.Time, 1)
	time.AfterFunc(delay, func() {
		begun := time.Now()
		do()
		done <- begun
	})
	return done
}

// forever returns an upper bound for between.
func forever() time.Time { return time.Now().Add(time.Hour) }

// eachWithTLS runs a test in parallel without TLS and with it.
func eachWithTLS(t *testing.T, test func(t *testing.T, secure bool)) {
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plaintext", true: "TLS"}[secure], func(t *testing.T) {
			t.Parallel()
			test(t, secure)
		})
	}
}
