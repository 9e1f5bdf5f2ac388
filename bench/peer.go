package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"

	"connectrpc.com/vanguard"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	gatewayv1 "example.com/podero-facade/gen/gateway/podero/user/v1"
	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// peers are the servers to measure against, and the upstream. Each serves until its listener is closed.
var peers = map[string]func(listener net.Listener, upstream string) error{
	"upstream":  serveUpstream,
	"echo":      serveEcho,
	"bare":      serveBare,
	"vanguard":  serveVanguard,
	"rproxy":    serveProxy,
	"gwloop":    serveGateway,
	"httpconst": serveConstant,
}

type peerCommand struct {
	Name     string `arg:"" help:"Which one."`
	Upstream string `help:"URL of the upstream, without a path."`
}

// Run serves until ctx ends, and says on the standard error where, in the way of podero-facade.
func (c *peerCommand) Run(ctx context.Context) error {
	serve, ok := peers[c.Name]
	if !ok {
		return fmt.Errorf("there is no peer %q", c.Name)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	slog.New(slog.NewJSONHandler(os.Stderr, nil)).Info("serving", "grpc", address, "http", address)
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	if err := serve(listener, c.Upstream); ctx.Err() == nil {
		return err
	}
	return nil
}

// echo answers every call with the same user: what gRPC alone costs.
type echo struct {
	userv1.UnimplementedUserServiceServer
	response *userv1.GetUserByExternalIdResponse
}

// GetUserByExternalId returns the user.
func (e *echo) GetUserByExternalId(
	context.Context, *userv1.GetUserByExternalIdRequest,
) (*userv1.GetUserByExternalIdResponse, error) {
	return e.response, nil
}

func serveEcho(listener net.Listener, _ string) error {
	server := grpc.NewServer()
	userv1.RegisterUserServiceServer(server, &echo{response: &userv1.GetUserByExternalIdResponse{User: newUser()}})
	return server.Serve(listener)
}

func serveBare(listener net.Listener, upstream string) error {
	server := grpc.NewServer()
	userv1.RegisterUserServiceServer(server, newBare(upstream))
	return server.Serve(listener)
}

// newTransport returns net/http's own way to the upstream, with as many idle connections as there may be callers: with
// its default of two, a proxy would dial for nearly every request.
func newTransport() *http.Transport {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 512
	return transport
}

// newProxy returns a proxy that adds the credentials, as every peer has to.
func newProxy(upstream string) (http.Handler, error) {
	target, err := url.Parse(upstream)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set("Authorization", "Bearer "+accessToken)
		},
		Transport: newTransport(),
	}, nil
}

func serveHTTP(listener net.Listener, handler http.Handler) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: handler, Protocols: protocols} //nolint:gosec // the load is our own
	return server.Serve(listener)
}

// serveVanguard transcodes gRPC to REST in front of a proxy. Its documents are in protobuf's JSON mapping, as it reads
// no others.
func serveVanguard(listener net.Listener, upstream string) error {
	proxy, err := newProxy(upstream + protojson)
	if err != nil {
		return err
	}
	service := vanguard.NewService(userv1.UserService_ServiceDesc.ServiceName, proxy,
		vanguard.WithTargetProtocols(vanguard.ProtocolREST), vanguard.WithTargetCodecs(vanguard.CodecJSON))
	transcoder, err := vanguard.NewTranscoder([]*vanguard.Service{service})
	if err != nil {
		return err
	}
	return serveHTTP(listener, transcoder)
}

func serveProxy(listener net.Listener, upstream string) error {
	proxy, err := newProxy(upstream)
	if err != nil {
		return err
	}
	return serveHTTP(listener, proxy)
}

// serveGateway serves grpc-gateway as its documentation does: in front of a gRPC server, here bare, on loopback.
func serveGateway(listener net.Listener, upstream string) error {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- serveBare(inner, upstream) }()
	mux := runtime.NewServeMux()
	err = gatewayv1.RegisterUserServiceHandlerFromEndpoint(context.Background(), mux, inner.Addr().String(),
		[]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())})
	if err != nil {
		return err
	}
	go func() { failed <- serveHTTP(listener, mux) }()
	return <-failed
}

// serveConstant answers every request with the same bytes: what HTTP alone costs.
func serveConstant(listener net.Listener, _ string) error {
	body := []byte(document)
	return serveHTTP(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
}
