//go:build chaos

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// TestChaosFewDescriptors runs the service with 256 file descriptors and 500 callers, each with a connection of its own and a call a second.
func TestChaosFewDescriptors(t *testing.T) {
	parallelIfShort(t)
	const callers = 500
	f := emptyFleet(t)
	upstream := newRollingUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(200 * time.Millisecond)
		f.answer(w, r)
	}))
	f.upstream, f.shell = upstream.url(), "ulimit -n 256"
	r := f.start()
	calls := &outcomes{counts: map[string]int{}}
	ctx, stop := context.WithTimeout(t.Context(), max(10*time.Second, time.Duration(*scale*float64(30*time.Second))))
	defer stop()
	var running sync.WaitGroup
	for i := range callers {
		lookup := f.singleConnection(r, i%2 == 0)
		running.Go(func() {
			time.Sleep(time.Duration(i) * time.Second / callers)
			for ; ctx.Err() == nil; time.Sleep(time.Second) {
				calls.add(lookup(ctx))
			}
		})
	}
	admin := &outcomes{counts: map[string]int{}}
	for ; ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
		for _, path := range []string{"/livez", "/metrics"} {
			admin.add(probe(r, path))
		}
	}
	running.Wait()
	final := probe(r, "/metrics")
	t.Logf("256 file descriptors, %d callers: calls %v; admin port %v, at last %q", callers, calls.counts, admin.counts, final)
	for reason, n := range calls.counts {
		if strings.HasPrefix(reason, "UPSTREAM_") {
			t.Errorf("%d calls failed with %s", n, reason)
		}
	}
	if calls.counts["OK"] < callers/5 {
		t.Errorf("%d calls succeeded, want %d", calls.counts["OK"], callers/5)
	}
	if len(admin.counts) != 1 || admin.counts["OK"] == 0 || final != "OK" {
		t.Error("want the admin port to respond, and the breaker closed, throughout")
	}
}

// outcomes counts calls by outcome.
type outcomes struct {
	mu     sync.Mutex
	counts map[string]int
}

func (o *outcomes) add(outcome string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts[outcome]++
}

// singleConnection returns a function that makes one call on a connection of its own, and returns "OK", the reason or the code.
func (f *fleet) singleConnection(r *replica, overGRPC bool) func(context.Context) string {
	f.t.Helper()
	if !overGRPC {
		transport := &http.Transport{MaxConnsPerHost: 1}
		f.t.Cleanup(transport.CloseIdleConnections)
		client := &http.Client{Transport: transport}
		url := "http://" + r.host + ":" + f.httpPort + "/api/partners/v2.0/org/" + fleetOrg + "/users/by-ext-id/"
		return func(ctx context.Context) string { return lookupREST(ctx, client, url+someone()) }
	}
	conn, err := grpc.NewClient(r.host+":"+f.grpcPort, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	users := userv1.NewUserServiceClient(conn)
	return func(ctx context.Context) string { return lookupGRPC(ctx, users) }
}

const callTimeout = 5 * time.Second

func lookupGRPC(ctx context.Context, users userv1.UserServiceClient) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	_, err := users.GetUserByExternalId(ctx, &userv1.GetUserByExternalIdRequest{OrgId: fleetOrg, ExternalId: someone()})
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return status.Code(err).String()
}

func lookupREST(ctx context.Context, client *http.Client, url string) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	response, err := client.Do(request)
	if err != nil {
		return "no response"
	}
	defer func() { _ = response.Body.Close() }()
	var body struct{ Reason string }
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return err.Error()
	}
	if response.StatusCode == http.StatusOK {
		return "OK"
	}
	return body.Reason
}

// probe requests a page of the admin port on a new connection. It returns "OK" or the problem.
func probe(r *replica, path string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	response, err := client.Get("http://" + r.admin + path)
	if err != nil {
		return path + " fails"
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Sprintf("%s: HTTP status %d", path, response.StatusCode)
	}
	if bytes.Contains(body, []byte("\npodero_facade_breaker_open 1\n")) {
		return "breaker open"
	}
	return "OK"
}
