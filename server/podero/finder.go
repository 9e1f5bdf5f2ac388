// Package podero is the upstream: Podero's Partner API, one exchange at a time (contract.md, section 1).
package podero

import (
	"context"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/secret"
)

// A Finder finds the user that a key names. Its errors are *fault.Error. Finders wrap one another, and
// what they return may be shared between calls: nobody changes a User that a Finder returned.
type Finder interface {
	FindUser(ctx context.Context, key Key) (*userv1.User, error)
}

// Key names a user and who asks. Two lookups with equal keys have the same answer.
type Key struct {
	OrgID          string // a UUID in lower case
	ExternalID     string // 1 to 255 code points, as the caller sent them
	IncludeDeleted bool

	// Token is the bearer token to ask with: the caller's own where the service passes it through, and
	// empty otherwise until an Authorizer sets it.
	Token secret.Text
}

// IsUUID reports whether s is a UUID in the 8-4-4-4-12 form and in lower case, as an organization's ID is in a Key.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
				return false
			}
		}
	}
	return true
}
