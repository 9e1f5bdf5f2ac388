package podero

import (
	"context"

	"google.golang.org/protobuf/proto"

	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/secret"
)

// Tokens gives the access tokens that Podero is asked with.
type Tokens interface {
	// Token returns a valid access token, waiting for it no longer than ctx allows. Its errors are
	// *fault.Error.
	Token(ctx context.Context) (secret.Text, error)

	// Accepted says that Podero accepted the token.
	Accepted(token secret.Text)

	// Refused says that Podero did not accept the token, and reports whether asking for another one may help.
	Refused(token secret.Text) bool
}

// Authorizer asks with the service's own access token. If Podero does not accept it, which it may revoke
// at any time, the Authorizer asks once more with a new one.
type Authorizer struct {
	tokens Tokens
	next   Finder
}

// NewAuthorizer returns an Authorizer in front of a Finder.
func NewAuthorizer(tokens Tokens, next Finder) *Authorizer { return &Authorizer{tokens, next} }

// Find finds the document with an access token.
func (a *Authorizer) Find(ctx context.Context, key Key) (proto.Message, error) {
	token, message, err := a.find(ctx, key)
	if fault.Is(err, fault.UpstreamUnauthenticated) && a.tokens.Refused(token) {
		_, message, err = a.find(ctx, key)
	}
	return message, err
}

func (a *Authorizer) find(ctx context.Context, key Key) (secret.Text, proto.Message, error) {
	token, err := a.tokens.Token(ctx)
	if err != nil {
		return token, nil, err
	}
	key.Token = token
	message, err := a.next.Find(ctx, key)
	if err == nil || fault.Is(err, key.Resource.Missing) {
		a.tokens.Accepted(token)
	}
	return token, message, err
}
