//go:build !unix

package server

import "math"

// maxDescriptors returns the limit of file descriptors of the process. This system has no such
// limit.
func maxDescriptors() uint64 { return math.MaxUint64 }
