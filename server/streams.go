package server

import (
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"example.com/podero-facade/server/internal/recovery"
)

// Bounds of streams: health Watch and reflection. Nobody needs to authenticate for them.
const (
	maxStreamsPerConn = 4
	maxStreamsInAll   = 256
	maxWatchTime      = maxConnectionAge // clients begin a new Watch by themselves
	maxReflectionTime = 10 * time.Second
	healthWatchMethod = "/grpc.health.v1.Health/Watch"
	tooManyStreams    = "too many streams; close one, or try again later"
	streamTimeIsOver  = "the stream has had its time; begin another one"
	serviceIsStopping = "the service stops"
)

// streamLimiter bounds the number of streams and their time, and ends them at shutdown: otherwise GracefulStop would
// wait for the clients to close them.
type streamLimiter struct {
	log      *slog.Logger
	stopping chan struct{}

	mu      sync.Mutex
	inAll   int
	perConn map[string]int // by the peer's address and port
}

func newStreamLimiter(log *slog.Logger) *streamLimiter {
	return &streamLimiter{log: log, stopping: make(chan struct{}), perConn: map[string]int{}}
}

// stop ends all streams.
func (l *streamLimiter) stop() { close(l.stopping) }

// intercept is a grpc.StreamServerInterceptor.
func (l *streamLimiter) intercept(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	conn := ""
	if p, ok := peer.FromContext(stream.Context()); ok {
		conn = p.Addr.String()
	}
	if !l.enter(conn) {
		return status.Error(codes.ResourceExhausted, tooManyStreams)
	}
	defer l.leave(conn)
	most := maxReflectionTime
	if info.FullMethod == healthWatchMethod {
		most = maxWatchTime
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	ended := make(chan error, 1)
	go func() { // ends once intercept returns
		err := status.Error(codes.Internal, "the service failed")
		defer func() { ended <- err }()
		defer recovery.Log(stream.Context(), l.log)
		err = handle(service, stream)
	}()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		return status.Error(codes.Unavailable, streamTimeIsOver)
	case <-l.stopping:
		return status.Error(codes.Unavailable, serviceIsStopping)
	}
}

func (l *streamLimiter) enter(conn string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inAll >= maxStreamsInAll || l.perConn[conn] >= maxStreamsPerConn {
		return false
	}
	l.inAll++
	l.perConn[conn]++
	return true
}

func (l *streamLimiter) leave(conn string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inAll--
	if l.perConn[conn]--; l.perConn[conn] == 0 {
		delete(l.perConn, conn)
	}
}
