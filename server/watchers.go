package server

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// watchers ends streams, which a caller may hold open for as long as it likes: a Watch of the service's health, and
// reflection. The service would wait for them to end before it stops.
type watchers struct{ ending chan struct{} }

// intercept is a grpc.StreamServerInterceptor.
func (w watchers) intercept(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	ended := make(chan error, 1)
	go func() { ended <- handle(service, stream) }() // ends with the stream, and that when intercept returns
	select {
	case err := <-ended:
		return err
	case <-w.ending:
		return status.Error(codes.Unavailable, "the service stops")
	}
}
