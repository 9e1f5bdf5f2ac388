package gateway

import (
	"context"
	"fmt"
	"reflect"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Conn is a client connection to services in the same process. A call runs the service's handler in the
// caller's goroutine, behind the same interceptor as a call from the network, without a connection
// between. The caller's context, with its values, is the handler's. Its outgoing metadata, of which grpc-gateway makes
// some by itself, such as x-forwarded-for, does not reach the handler.
type Conn struct {
	interceptor grpc.UnaryServerInterceptor
	methods     map[string]method
}

type method struct {
	handler grpc.MethodHandler
	service any
}

// authorizationKey is the key of a context for the Authorization headers of a REST call.
type authorizationKey struct{}

// withAuthorization returns the context of a REST call whose RPC gets the values as its metadata. They come straight
// from the HTTP request, so that none is lost or changed.
func withAuthorization(ctx context.Context, values []string) context.Context {
	return context.WithValue(ctx, authorizationKey{}, values)
}

// NewConn returns a Conn without services.
func NewConn(interceptor grpc.UnaryServerInterceptor) *Conn {
	return &Conn{interceptor: interceptor, methods: map[string]method{}}
}

// RegisterService adds a service, as grpc.Server's method of the same name does.
func (c *Conn) RegisterService(desc *grpc.ServiceDesc, service any) {
	for _, m := range desc.Methods {
		c.methods["/"+desc.ServiceName+"/"+m.MethodName] = method{m.Handler, service}
	}
}

// Invoke calls a method.
func (c *Conn) Invoke(ctx context.Context, name string, request, response any, opts ...grpc.CallOption) error {
	m, ok := c.methods[name]
	if !ok {
		return status.Errorf(codes.Unimplemented, "unknown method %s", name)
	}
	if values, ok := ctx.Value(authorizationKey{}).([]string); ok {
		ctx = metadata.NewIncomingContext(ctx, metadata.MD{"authorization": values})
	}
	sent := &sentMetadata{method: name}
	ctx = grpc.NewContextWithServerTransportStream(ctx, sent)

	decode := func(target any) error { return share(target, request) }
	result, err := m.handler(m.service, ctx, decode, c.interceptor)
	for _, opt := range opts {
		if header, ok := opt.(grpc.HeaderCallOption); ok {
			*header.HeaderAddr = sent.header
		}
		if trailer, ok := opt.(grpc.TrailerCallOption); ok {
			*trailer.TrailerAddr = sent.trailer
		}
	}
	if err != nil {
		return err
	}
	return share(response, result)
}

// NewStream fails: the API has no streams.
func (c *Conn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "the gateway carries no streams")
}

// share sets the fields of a message to those of another one of the same type. What they point to is shared, not
// copied: neither side of a call changes a message that it has handed over. The struct as a whole must not be copied:
// in it is what others who write the message at the same time keep there.
func share(target, source any) error {
	to, from := reflect.ValueOf(target), reflect.ValueOf(source)
	if to.Kind() != reflect.Pointer || to.Type() != from.Type() {
		return fmt.Errorf("a %T can't become a %T", source, target)
	}
	to, from = to.Elem(), from.Elem()
	for i := range to.NumField() {
		if field := to.Field(i); field.CanSet() {
			field.Set(from.Field(i))
		}
	}
	return nil
}

// sentMetadata is what a handler sends beside its response.
type sentMetadata struct {
	method          string
	header, trailer metadata.MD
}

func (s *sentMetadata) Method() string { return s.method }

func (s *sentMetadata) SetHeader(md metadata.MD) error {
	s.header = join(s.header, md)
	return nil
}

func (s *sentMetadata) SendHeader(md metadata.MD) error { return s.SetHeader(md) }

func (s *sentMetadata) SetTrailer(md metadata.MD) error {
	s.trailer = join(s.trailer, md)
	return nil
}

// join adds metadata to what was sent before, which mostly is nothing. Whoever sends it makes it for that.
func join(before, md metadata.MD) metadata.MD {
	if before == nil {
		return md
	}
	return metadata.Join(before, md)
}
