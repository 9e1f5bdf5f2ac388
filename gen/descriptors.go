// Package gen has the API in the form that clients in other languages load. The packages below it have it in Go.
package gen

import _ "embed" // for PoderoUserV1

// PoderoUserV1 is a google.protobuf.FileDescriptorSet: podero.user.v1 with all that it imports, and with the comments
// that generated Go code leaves out of its descriptors.
//
//go:embed podero-user-v1.binpb
var PoderoUserV1 []byte
