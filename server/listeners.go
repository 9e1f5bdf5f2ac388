package server

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/tap"

	_ "google.golang.org/grpc/encoding/gzip" // callers may compress requests, and accept compressed responses

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/internal/connlimit"
	"example.com/podero-facade/server/requestid"
	"example.com/podero-facade/server/telemetry"
)

// Bounds of what callers may ask for, so that memory is bounded whatever arrives. A request is about a
// kilobyte at most. What a stalled one has sent is kept, on each stream, until its connection is too old.
const (
	maxRequestBytes = 16 << 10
	maxHeaderBytes  = 68 << 10 // 64 KiB of metadata or REST headers, and those that each call has
	maxStreams      = 160      // of a gRPC connection; more wait at the client. Each may hold 64 KiB of metadata
	readTimeout     = 10 * time.Second
	writeTimeout    = 10 * time.Second // beyond the time of a lookup
	idleTimeout     = 2 * time.Minute

	// Goroutines that are kept for calls over gRPC; others come and go. A kept one need not grow its stack anew.
	streamWorkers = 64

	// A connection keeps its read buffer while it is idle, and a call fits into a small one.
	readBuffer = 8 << 10

	// What a stream, and a connection, may send before it is read. grpc-go would let a fast connection send 16 MiB.
	// A stream cannot have less; what a connection has only paces it.
	streamWindow     = 64 << 10
	connectionWindow = 1 << 20

	// gRPC connections end after a while, so that callers look for replicas anew and new ones get their share. grpc-go
	// spreads the age by a tenth, so that not all callers come back at once.
	maxConnectionIdle  = 15 * time.Minute
	maxConnectionAge   = 2 * time.Minute
	maxConnectionGrace = time.Minute
	pingInterval       = time.Minute
	pingTimeout        = 20 * time.Second

	// Callers may ping every 5 s, which networks may bunch. gRFC A8 allows them every 10 s at most.
	minPingInterval = 4 * time.Second
)

// bufferSizes are the sizes of buffers for frames and messages, as powers of two. grpc-go's own sizes let frames of a
// kilobyte take four times what they carry.
var bufferSizes = []uint8{8, 11, 12, 13, 14, 15, 20}

// listen builds the servers and opens their listeners.
func (s *Server) listen(
	intercept grpc.UnaryServerInterceptor, services []service, rest http.Handler, metrics *telemetry.Metrics,
) error {
	options := []grpc.ServerOption{
		grpc.UnaryInterceptor(intercept), grpc.StreamInterceptor(s.streams.intercept), grpc.InTapHandle(rejectHopeless(metrics)),
	}
	s.rest = newHTTPServer(s.ready.closeConnections(rest), s.log, s.config.UpstreamTimeout)
	s.rest.ConnContext = withConnectionEnd
	base, cancel := context.WithCancel(context.Background())
	s.rest.BaseContext, s.cancelREST = func(net.Listener) context.Context { return base }, cancel
	s.admin = newHTTPServer(adminHandler(s.config.AdminListen, s.ready, metrics), s.log, longestProfile)
	if s.certs != nil {
		options = append(options, grpc.Creds(loggedHandshakes{credentials.NewTLS(s.certs.serverConfig("h2")), s.log}))
		s.rest.TLSConfig = s.certs.serverConfig("h2", "http/1.1")
	}
	buffers, err := mem.NewBinaryTieredBufferPool(bufferSizes...)
	if err != nil {
		return err
	}
	s.grpc = newGRPCServer(append(options, experimental.BufferPool(buffers)), services, s.health)
	return s.open(metrics)
}

// minCallTime is the least time that a call needs to have. With less, grpc-go may reset its stream at the deadline
// before any status is sent.
const minCallTime = time.Millisecond

// rejectHopeless returns a handler of new streams that rejects calls whose deadline has passed, or is about to, with a
// status. It runs for each call, before anything is read.
func rejectHopeless(metrics *telemetry.Metrics) tap.ServerInHandle {
	return func(ctx context.Context, info *tap.Info) (context.Context, error) {
		deadline, ok := ctx.Deadline()
		if !ok || time.Until(deadline) >= minCallTime {
			return ctx, nil
		}
		if strings.HasPrefix(info.FullMethodName, "/podero.") {
			metrics.CountLookup(fault.UpstreamTimeout.Reason())
		}
		proposed := ""
		if values := info.Header[requestid.Header]; len(values) > 0 {
			proposed = values[0]
		}
		return ctx, fault.New(fault.UpstreamTimeout, nil).Status(requestid.Accept(proposed)).Err()
	}
}

func newGRPCServer(options []grpc.ServerOption, services []service, health *health.Server) *grpc.Server {
	server := grpc.NewServer(append(options,
		grpc.NumStreamWorkers(streamWorkers),
		grpc.ReadBufferSize(readBuffer),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(readTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     maxConnectionIdle,
			MaxConnectionAge:      maxConnectionAge,
			MaxConnectionAgeGrace: maxConnectionGrace,
			Time:                  pingInterval,
			Timeout:               pingTimeout,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime:             minPingInterval,
			PermitWithoutStream: true,
		}),
	)...)
	for _, service := range services {
		server.RegisterService(service.desc, service.handler)
		health.SetServingStatus(service.desc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	}
	healthpb.RegisterHealthServer(server, health)
	registerReflection(server)
	return server
}

// serveREST serves REST, with TLS if the service speaks it.
func (s *Server) serveREST() error {
	if s.rest.TLSConfig != nil {
		return s.rest.ServeTLS(s.restListener, "", "")
	}
	return s.rest.Serve(s.restListener)
}

// newHTTPServer returns a server whose answers take some time at most.
func newHTTPServer(handler http.Handler, log *slog.Logger, longest time.Duration) *http.Server {
	return &http.Server{
		Handler: handler,

		DisableGeneralOptionsHandler: true, // every answer is the handler's
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 longest + writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// open opens the listeners.
func (s *Server) open(metrics *telemetry.Metrics) error {
	for _, l := range []struct {
		flag, address  string
		listener       *net.Listener
		maxConnections int // more wait to be accepted
	}{
		{"grpc-listen", s.config.GRPCListen, &s.grpcListener, s.connections.callers},
		{"http-listen", s.config.HTTPListen, &s.restListener, s.connections.callers},
		{"admin-listen", s.config.AdminListen, &s.adminListener, maxAdminConnections},
	} {
		listener, err := net.Listen("tcp", l.address)
		if err != nil {
			return fmt.Errorf("--%s (%s): %w; give another address", l.flag, Variable(l.flag), err)
		}
		limited := connlimit.New(listener, l.maxConnections, perPeer(s.config.MaxConnectionsPerPeer, l.maxConnections))
		watchConnections(metrics, strings.TrimSuffix(l.flag, "-listen"), limited)
		*l.listener = limited
	}
	return nil
}

// GRPCAddr returns the address of the gRPC listener.
func (s *Server) GRPCAddr() net.Addr { return s.grpcListener.Addr() }

// HTTPAddr returns the address of the REST listener.
func (s *Server) HTTPAddr() net.Addr { return s.restListener.Addr() }

// AdminAddr returns the address of the admin listener.
func (s *Server) AdminAddr() net.Addr { return s.adminListener.Addr() }
