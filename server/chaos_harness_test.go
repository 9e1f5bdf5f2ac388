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

// somebody is a user whom hardly any other call is for.
func somebody() *userv1.GetUserByExternalIdRequest {
	return &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: fmt.Sprint(rand.IntN(everybody))}
}

// lookups returns a load that goes over gRPC and REST by turns, over several connections, which end with the test.
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
			return reasonGRPC(to[i/2%len(to)].GetUserByExternalId(ctx, somebody()))
		}
		return s.reasonREST(ctx, transport)
	}
}

// warmUp makes calls one after the other until some in a row succeed at once, so that a test begins with what it means to test.
func warmUp(t *testing.T, lookup lookupFunc) {
	t.Helper()
	const enough = 8
	end := time.Now().Add(testLimit)
	for i, succeeded := 0, 0; succeeded < enough; i++ {
		if time.Now().After(end) {
			t.Fatal("calls don't succeed before the fault")
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

// reasonGRPC returns how a call over gRPC ended.
func reasonGRPC(_ *userv1.GetUserByExternalIdResponse, err error) (codes.Code, string) {
	st := status.Convert(err)
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return st.Code(), info.GetReason()
		}
	}
	return st.Code(), ""
}

// reasonREST makes a call over REST, and returns how it ended in gRPC's terms.
func (s *service) reasonREST(ctx context.Context, transport *http.Transport) (codes.Code, string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.HTTPAddr().String()+restPath(somebody()), nil)
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

// succeeded returns the share of the calls that succeeded.
func (c calls) succeeded() float64 {
	if len(c) == 0 {
		return 0
	}
	return 1 - float64(c.failed())/float64(len(c))
}

// goodput returns how many calls a second succeeded between two times, whenever they began.
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

// failures lists the failures by code and reason, for a log.
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

// lastFailure returns how long after a time the last call began that failed, or 0.
func (c calls) lastFailure(from time.Time) (last time.Duration) {
	for _, call := range c {
		if call.code != codes.OK {
			last = max(last, call.begun.Sub(from))
		}
	}
	return last
}

// forever is the end of what has none.
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
