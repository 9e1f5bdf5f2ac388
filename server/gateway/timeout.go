package gateway

import "regexp"

// timeoutHeader is how a REST caller gives a deadline.
const timeoutHeader = "Grpc-Timeout"

// timeoutForm is gRPC's form of a timeout (PROTOCOL-HTTP2.md, Timeout). grpc-gateway would take more digits, and 0.
var timeoutForm = regexp.MustCompile(`^[1-9][0-9]{0,7}[HMSmun]$`)

// isTimeout reports whether a header is a timeout, or none.
func isTimeout(header string) bool { return header == "" || timeoutForm.MatchString(header) }
