package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// lookupWithTimeout is a lookup over gRPC by a client that sends a timeout but has no clock of its own, so that it
// sees all that the service sends at the deadline, or nothing but the end of the stream.
func lookupWithTimeout(t *testing.T, s *service, timeout string) (*status.Status, error) {
	t.Helper()
	message, err := proto.Marshal(theUser())
	if err != nil {
		t.Fatal(err)
	}
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)&math.MaxInt32)), message...)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://"+s.GRPCAddr().String()+"/podero.user.v1.UserService/GetUserByExternalId", bytes.NewReader(frame))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Grpc-Timeout": {timeout}}
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, err
	}
	header := response.Trailer
	if response.Header.Get("Grpc-Status") != "" { // a response without a message has trailers only
		header = response.Header
	}
	details, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(header.Get("Grpc-Status-Details-Bin"), "="))
	if err != nil {
		t.Fatal(err)
	}
	var st rpcstatus.Status
	if err := proto.Unmarshal(details, &st); err != nil {
		t.Fatal(err)
	}
	return status.FromProto(&st), nil
}

// TestACallersDeadlineIsATimeoutWithDetails has calls that end with their callers' deadline. The status has to arrive
// with its details before the deadline, and no more than 20 ms before it.
func TestACallersDeadlineIsATimeoutWithDetails(t *testing.T) {
	const calls, mostLost = 6, 1 // a busy machine may be late
	s := start(t, newUpstream(t, silent, nil), nil)
	for _, deadline := range []time.Duration{150 * time.Millisecond, 500 * time.Millisecond} {
		timeout := fmt.Sprintf("%dm", deadline.Milliseconds())
		for protocol, reason := range map[string]func() string{
			"gRPC": func() string {
				st, err := lookupWithTimeout(t, s, timeout)
				if err != nil {
					return err.Error()
				}
				for _, detail := range st.Details() {
					if info, ok := detail.(*errdetails.ErrorInfo); ok && st.Code() == codes.DeadlineExceeded {
						return info.GetReason()
					}
				}
				return st.String()
			},
			"REST": func() string {
				return lookupREST(t.Context(), t, s, theUser(), http.Header{"Grpc-Timeout": {timeout}}).reason
			},
		} {
			var others []string
			for range calls {
				begun := time.Now()
				got := reason()
				if took := time.Since(begun); took < deadline-20*time.Millisecond {
					t.Errorf("%s, %v: %s after %v", protocol, deadline, got, took)
				}
				if got != "UPSTREAM_TIMEOUT" {
					others = append(others, got)
				}
			}
			if len(others) > mostLost || protocol == "REST" && len(others) > 0 {
				t.Errorf("%s, %v: %d of %d calls ended with %q", protocol, deadline, len(others), calls, others)
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

// TestACallWithoutTimeGetsAStatus has deadlines that pass while the request arrives.
func TestACallWithoutTimeGetsAStatus(t *testing.T) {
	s := start(t, newUpstream(t, silent, nil), nil)
	for _, timeout := range []string{"0n", "1n", "1u", "500u"} {
		for range 20 {
			st, err := lookupWithTimeout(t, s, timeout)
			if err != nil || st.Code() != codes.DeadlineExceeded {
				t.Fatalf("%s: got %v, %v", timeout, st, err)
			}
			if info, ok := st.Details()[0].(*errdetails.ErrorInfo); !ok || info.GetReason() != "UPSTREAM_TIMEOUT" {
				t.Errorf("%s: got the details %v", timeout, st.Details())
			}
		}
	}
	if got := s.metric(t, `podero_facade_lookups_total{reason="UPSTREAM_TIMEOUT"}`); got != "80" {
		t.Errorf("%s calls were counted, want 80", got)
	}
}
