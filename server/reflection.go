package server

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"example.com/podero-facade/gen"
)

// registerReflection lets clients read from the server what it serves, documentation included.
func registerReflection(server *grpc.Server) {
	options := reflection.ServerOptions{Services: server, DescriptorResolver: documented{sync.OnceValues(gen.Files)}}
	reflectionv1.RegisterServerReflectionServer(server, reflection.NewServerV1(options))
	reflectionv1alpha.RegisterServerReflectionServer(server, reflection.NewServer(options))
}

// documented resolves the API to descriptors with comments, which linked ones don't have, and all else to linked ones.
type documented struct {
	api func() (*protoregistry.Files, error) // made when it is first asked for: most processes are never
}

// FindFileByPath finds a file by the path that it is imported by.
func (d documented) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	api, err := d.api()
	if err != nil {
		return nil, err
	}
	if file, err := api.FindFileByPath(path); err == nil {
		return file, nil
	}
	return protoregistry.GlobalFiles.FindFileByPath(path)
}

// FindDescriptorByName finds what has a full name.
func (d documented) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	api, err := d.api()
	if err != nil {
		return nil, err
	}
	if descriptor, err := api.FindDescriptorByName(name); err == nil {
		return descriptor, nil
	}
	return protoregistry.GlobalFiles.FindDescriptorByName(name)
}
