package server

import (
	"context"
	"math"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/requestid"
)

// callTracker tracks the calls in flight over gRPC and REST, so that the components that their
// handlers use are closed after the last handler has returned. Neither server waits for the
// handlers of calls that it cuts off.
type callTracker struct{ slots *semaphore.Weighted }

func newCallTracker() callTracker { return callTracker{semaphore.NewWeighted(math.MaxInt64)} }

// intercept is a grpc.UnaryServerInterceptor. It must be the outermost one. Once wait has returned,
// it rejects calls; their connections have been closed by then.
func (c callTracker) intercept(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if !c.slots.TryAcquire(1) {
		return nil, fault.New(fault.CallerCancelled, nil).Status(requestid.From(ctx)).Err()
	}
	defer c.slots.Release(1)
	return handle(ctx, request)
}

// wait waits until no call is in flight. It reports false if ctx ended first.
func (c callTracker) wait(ctx context.Context) bool {
	return c.slots.Acquire(ctx, math.MaxInt64) == nil
}
