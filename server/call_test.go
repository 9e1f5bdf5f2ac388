package server_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"google.golang.org/grpc/codes"
)

func TestOnlyWhatTheContractNamesIsSentUpstream(t *testing.T) {
	u := newUpstream(t, replyJSON(200, document()), nil)
	s := start(t, u, nil)
	overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
		lookup(theUser(), http.Header{
			"Authorization":               {"Bearer caller-token"},
			"Grpc-Metadata-Authorization": {"Bearer caller-token"},
			"Cookie":                      {"session=1"},
			"X-Forwarded-For":             {"1.2.3.4"},
			"X-Request-Id":                {"request-7"},
			"X-Custom":                    {"x"},
			"Accept-Language":             {"de"},
		})
		requests := u.apiRequests()
		header := requests[len(requests)-1].Header
		for name, want := range map[string]string{
			"Authorization": "Bearer token-1", "Accept": "application/json", "X-Request-Id": "request-7",
		} {
			if got := strings.Join(header.Values(name), "|"); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
			header.Del(name)
		}
		if agent := header.Get("User-Agent"); !strings.HasPrefix(agent, "podero-facade/") {
			t.Errorf("User-Agent %q", agent)
		}
		header.Del("User-Agent")
		if len(header) != 0 {
			t.Errorf("also sent: %v", header)
		}
	})
}

func TestATraceGoesOnToPodero(t *testing.T) {
	u := newUpstream(t, replyJSON(404, detail), nil)
	s := start(t, u, nil)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	for sent, carried := range map[string]bool{
		"00-" + trace + "-b7ad6b7169203331-01": true, "00-" + trace + "-b7ad6b7169203331-00": true,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false, "rubbish": false, "": false,
	} {
		overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
			lookup(theUser(), http.Header{"Traceparent": {sent}, "Tracestate": {"vendor=1"}, "Baggage": {"name=Peter"}})
			requests := u.apiRequests()
			header := requests[len(requests)-1].Header
			if got := header.Get("Traceparent"); (got == sent && got != "") != carried || !carried && got != "" {
				t.Errorf("sent %q, Podero got %q", sent, got)
			}
			if header.Get("Tracestate") != "" || header.Get("Baggage") != "" {
				t.Errorf("Podero got tracestate %q, baggage %q", header.Get("Tracestate"), header.Get("Baggage"))
			}
		})
	}
	if !strings.Contains(s.log.String(), `"trace_id":"`+trace+`"`) {
		t.Error("the trace is not in the log")
	}
	s.checkDiscretion(t)
}

// TestACallerWhoLeavesEndsTheUpstreamCall has two calls, as the attempt of one may go on without its caller.
func TestACallerWhoLeavesEndsTheUpstreamCall(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol.name, func(t *testing.T) {
			arrived, ended := make(chan struct{}), make(chan struct{}, 2)
			s := start(t, newUpstream(t, func(_ http.ResponseWriter, r *http.Request) {
				arrived <- struct{}{}
				<-r.Context().Done()
				ended <- struct{}{}
			}, nil), nil)
			for _, id := range []string{"one", "two"} {
				ctx, leave := context.WithCancel(t.Context())
				done := make(chan answer, 1)
				go func() {
					done <- protocol.lookup(ctx, t, s, &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: id}, nil)
				}()
				<-arrived
				leave()
				if got := <-done; got.code != codes.Canceled {
					t.Errorf("%v %s", got.code, got.reason)
				}
			}
			<-ended
			s.await(t, `podero_facade_lookups_total{reason="CALLER_CANCELLED"}`, "2")
			if err := s.stop(); err != nil { // which ends the other attempt
				t.Error(err)
			}
			<-ended
			if log := s.log.String(); strings.Contains(log, "UPSTREAM_") {
				t.Errorf("log %s", log)
			}
		})
	}
}

func TestACallersShorterDeadlineWins(t *testing.T) {
	s := start(t, newUpstream(t, silent, nil), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got := lookupGRPC(ctx, t, s, theUser(), nil); got.code != codes.DeadlineExceeded {
		t.Errorf("%v %s", got.code, got.reason)
	}
	timeout.check(t, lookupREST(t.Context(), t, s, theUser(), http.Header{"Grpc-Timeout": {"50m"}}))
}
