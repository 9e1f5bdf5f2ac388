//go:build !unix

package server

import "math"

// maxDescriptors returns how many file descriptors the process may have. This system has no such limit.
func maxDescriptors() uint64 { return math.MaxUint64 }
