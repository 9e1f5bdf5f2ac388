package server

import (
	"context"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	gatewayv1 "example.com/podero-facade/gen/gateway/podero/user/v1"
	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/gateway"
	"example.com/podero-facade/server/lookup"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/users"
)

// service is a service of the API's: what calls reach over gRPC, and its health; what routes REST to it.
type service struct {
	desc    *grpc.ServiceDesc
	handler any
	route   gateway.Register
}

// services returns the services of the API.
func (c *Config) services(finder podero.Finder) []service {
	lookups := lookup.Config{Finder: finder, Passthrough: c.UpstreamAuth == AuthPassthrough}
	return []service{
		{&userv1.UserService_ServiceDesc, users.New(lookups), func(ctx context.Context, mux *runtime.ServeMux, conn grpc.ClientConnInterface) error {
			return gatewayv1.RegisterUserServiceHandlerClient(ctx, mux, userv1.NewUserServiceClient(conn))
		}},
	}
}
