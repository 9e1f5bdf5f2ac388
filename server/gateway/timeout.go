package gateway

import (
	"strconv"
	"strings"
)

// timeoutHeader is how a REST caller gives a deadline.
const timeoutHeader = "Grpc-Timeout"

// isTimeout reports whether a header is none, or a timeout of gRPC's (PROTOCOL-HTTP2.md, TimeoutValue and TimeoutUnit).
// grpc-gateway would take more digits, and 0.
func isTimeout(header string) bool {
	if header == "" {
		return true
	}
	digits, unit := header[:len(header)-1], header[len(header)-1:]
	value, err := strconv.ParseUint(digits, 10, 32)
	return err == nil && value > 0 && len(digits) <= 8 && strings.ContainsAny(unit, "HMSmun")
}
