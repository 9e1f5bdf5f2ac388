//go:build load || chaos

package server_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server"
)

// scale makes every scenario shorter: 1 is the whole, as docs/reliability.md has it.
var scale = flag.Float64("scale", 1, "how much of each scenario's time to play")

func scaled(duration time.Duration) time.Duration {
	return time.Duration(float64(duration) * *scale)
}

// soon reports whether something took no longer than it should. A shortened run catches only what takes far longer: it is
// CI's, where the machine may have much else to do.
func soon(took, target time.Duration) bool {
	if *scale < 1 {
		target *= 10
	}
	return took <= target
}

// call is how one call ended.
type call struct {
	begun  time.Time
	took   time.Duration
	code   codes.Code
	reason string // of a failure, where the load asks for it
}

// calls are those of a load, in the order of their beginnings.
type calls []call

func (c calls) failed() (n int) {
	for _, call := range c {
		if call.code != codes.OK {
			n++
		}
	}
	return n
}

func (c calls) between(from, to time.Time) calls {
	var some calls
	for _, call := range c {
		if !call.begun.Before(from) && call.begun.Before(to) {
			some = append(some, call)
		}
	}
	return some
}

// quantile returns the time that a share of the calls took at most.
func (c calls) quantile(share float64) time.Duration {
	if len(c) == 0 {
		return 0
	}
	took := make([]time.Duration, len(c))
	for i, call := range c {
		took[i] = call.took
	}
	slices.Sort(took)
	return took[min(int(share*float64(len(took))), len(took)-1)]
}

// clients returns gRPC clients with a connection each, and what closes them.
func clients(t *testing.T, s *service, n int) (list []userv1.UserServiceClient, closeAll func()) {
	t.Helper()
	var conns []*grpc.ClientConn
	for range n {
		conn, err := grpc.NewClient(s.GRPCAddr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		list = append(list, userv1.NewUserServiceClient(conn))
	}
	return list, func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}
}

// lookupFunc makes the i-th call of a load, and returns its code and, if it failed, the reason.
type lookupFunc func(ctx context.Context, i int) (codes.Code, string)

// play makes calls at a rate for some time, each with a deadline, and returns them once the last one has ended.
func play(rate float64, duration, deadline time.Duration, lookup lookupFunc) calls {
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		all     calls
		begun   = time.Now()
	)
	for i := 0; time.Since(begun) < duration; i++ {
		if wait := time.Until(begun.Add(time.Duration(float64(i) / rate * float64(time.Second)))); wait > 0 {
			<-time.After(wait)
		}
		running.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), deadline)
			defer cancel()
			at := time.Now()
			code, reason := lookup(ctx, i)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, call{at, time.Since(at), code, reason})
		})
	}
	running.Wait()
	return all
}

// load calls at a rate for some time, each call with a deadline and, of so many users, one at random.
func load(t *testing.T, s *service, rate float64, duration, deadline time.Duration, users int) calls {
	t.Helper()
	to, closeAll := clients(t, s, 4)
	defer closeAll()
	return play(rate, duration, deadline, func(ctx context.Context, i int) (codes.Code, string) {
		_, err := to[i%len(to)].GetUserByExternalId(ctx, &userv1.GetUserByExternalIdRequest{
			OrgId: orgID, ExternalId: fmt.Sprint(rand.IntN(users)),
		})
		return status.Code(err), ""
	})
}

// atOnce makes n calls at the same time.
func atOnce(t *testing.T, s *service, n int, lookup func(i int, client userv1.UserServiceClient) error) (failed int) {
	t.Helper()
	var running sync.WaitGroup
	var failures atomic.Int64
	to, closeAll := clients(t, s, n/100+1) // a connection has 160 calls at a time
	defer closeAll()
	for i := range n {
		running.Go(func() {
			if lookup(i, to[i%len(to)]) != nil {
				failures.Add(1)
			}
		})
	}
	running.Wait()
	return int(failures.Load())
}

const everybody = 1 << 30 // users, so that hardly any two lookups are the same

// after is an upstream that takes some time.
func after(wait time.Duration, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		<-time.After(wait)
		next(w, r)
	}
}

func tokens(lifetime int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		number := r.Context().Value(tokenNumber{}).(int)
		replyJSON(200, fmt.Sprintf(`{"access_token":"token-%d","expires_in":%d,"token_type":"Bearer"}`, number, lifetime))(w, r)
	}
}

// asInProduction are the defaults of the program, but for where it listens and whom it calls.
func asInProduction(c *server.Config) {
	c.UpstreamTimeout, c.UpstreamAttemptTimeout = 10*time.Second, 3*time.Second
	c.LogLevel = 4 // warn
}
