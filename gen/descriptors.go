// Package gen has the API in the form that clients in other languages load. The packages below it have it in Go.
package gen

import (
	_ "embed" // for PoderoUserV1

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// PoderoUserV1 is a google.protobuf.FileDescriptorSet: podero.user.v1 with all that it imports, and with the comments
// that generated Go code leaves out of its descriptors.
//
//go:embed podero-user-v1.binpb
var PoderoUserV1 []byte

// Files returns the descriptors of PoderoUserV1.
func Files() (*protoregistry.Files, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(PoderoUserV1, &set); err != nil {
		return nil, err
	}
	return protodesc.NewFiles(&set)
}
