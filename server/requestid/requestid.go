// Package requestid names a call, so that a caller, this service and Podero can speak of the same one
// without naming a person. The name travels as x-request-id (contract.md, section 5).
package requestid

import (
	"context"
	"crypto/rand"
)

// Header is the HTTP header and the gRPC metadata key that a request ID travels in.
const Header = "x-request-id"

const maxLength = 128

type key struct{}

// With returns a context that carries id.
func With(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, key{}, id)
}

// From returns the request ID that ctx carries, or "".
func From(ctx context.Context) string {
	id, _ := ctx.Value(key{}).(string)
	return id
}

// Accept returns the ID that a caller proposed if it is 1 to 128 visible ASCII characters, and a new
// one otherwise.
func Accept(proposed string) string {
	if len(proposed) == 0 || len(proposed) > maxLength {
		return rand.Text()
	}
	for i := range len(proposed) {
		if c := proposed[i]; c <= ' ' || c > '~' {
			return rand.Text()
		}
	}
	return proposed
}
