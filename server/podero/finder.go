// Package podero is the upstream: Podero's Partner API, one exchange at a time (contract.md, section 1).
package podero

import (
	"context"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/secret"
)

// A Finder finds the document that a key names. Its errors are *fault.Error. Finders wrap one another, and
// what they return may be shared between calls: nobody changes a message that a Finder returned.
type Finder interface {
	Find(ctx context.Context, key Key) (proto.Message, error)
}

// Key names a document and who asks. Two lookups with equal keys have the same answer. Functions such as
// UserByExternalID make one.
type Key struct {
	Resource *Resource
	OrgID    string // the organization that the document must be of: a UUID in lower case
	Path     string // of the document, below the base URL, with its query: ready to be sent

	// Token is the bearer token to ask with: the caller's own where the service passes it through, and
	// empty otherwise until an Authorizer sets it.
	Token secret.Text
}

// Matches reports whether a message is of the document that the key names. One that is not must not be kept: it may be
// the response to another request.
func (k Key) Matches(message proto.Message) bool {
	return k.Resource.Matches == nil || k.Resource.Matches(k, message)
}

// Resource is a kind of document that Podero has.
type Resource struct {
	Template string        // of a Key's path, as metrics and traces may know it
	Message  proto.Message // a document's type; its value is not used
	Missing  fault.Kind    // what a 404 says

	// Matches reports whether a message is of the document that a key names, as far as the message says so. nil stands
	// for always.
	Matches func(key Key, message proto.Message) bool

	// Decode maps a document of the organization to a message of the type. Its errors are *fault.Error.
	Decode func(document []byte, orgID string, drift *Drift) (proto.Message, error)
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
