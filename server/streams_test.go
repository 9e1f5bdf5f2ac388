package server

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// fakeStream is a stream of a connection.
type fakeStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (f fakeStream) Context() context.Context { return f.ctx }

func streamFrom(ctx context.Context, port int) fakeStream {
	return fakeStream{ctx: peer.NewContext(ctx, &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port}})}
}

func TestStreamsHaveTheirTimeAndNoMore(t *testing.T) {
	for method, want := range map[string]time.Duration{
		healthWatchMethod: 2 * time.Minute,
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": 10 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			begun := time.Now()
			err := newStreamLimiter(slog.New(slog.DiscardHandler)).intercept(nil, streamFrom(ctx, 1), &grpc.StreamServerInfo{FullMethod: method},
				func(_ any, stream grpc.ServerStream) error {
					<-stream.Context().Done()
					return stream.Context().Err()
				})
			if took := time.Since(begun); took != want || status.Code(err) != codes.Unavailable {
				t.Errorf("%s: ended after %v with %v, want %v", method, took, err, want)
			}
		})
	}
}

func TestTheNumberOfStreamsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limiter := newStreamLimiter(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		var streams sync.WaitGroup
		var mu sync.Mutex
		rejected := map[int]int{} // by connection
		begin := func(conn int) {
			streams.Go(func() {
				err := limiter.intercept(nil, streamFrom(ctx, conn), &grpc.StreamServerInfo{FullMethod: healthWatchMethod},
					func(_ any, stream grpc.ServerStream) error {
						<-stream.Context().Done()
						return stream.Context().Err()
					})
				if status.Code(err) == codes.ResourceExhausted {
					mu.Lock()
					rejected[conn]++
					mu.Unlock()
				}
			})
		}
		for range 2 * maxStreamsPerConn {
			begin(1)
		}
		synctest.Wait()
		for conn := range maxStreamsInAll {
			begin(2 + conn)
		}
		synctest.Wait()
		mu.Lock()
		if rejected[1] != maxStreamsPerConn || len(rejected) != 1+maxStreamsPerConn {
			t.Errorf("%d streams of one connection and those of %d others were rejected, want %d and %d",
				rejected[1], len(rejected)-1, maxStreamsPerConn, maxStreamsPerConn)
		}
		mu.Unlock()
		cancel()
		streams.Wait()
		if len(limiter.perConn) != 0 || limiter.inAll != 0 {
			t.Errorf("%d streams are still counted", limiter.inAll)
		}
	})
}

func TestAPanicEndsItsStreamAlone(t *testing.T) {
	err := newStreamLimiter(slog.New(slog.DiscardHandler)).intercept(nil, streamFrom(t.Context(), 1), &grpc.StreamServerInfo{},
		func(any, grpc.ServerStream) error { panic("hunter2") })
	if status.Code(err) != codes.Internal {
		t.Error(err)
	}
}
