// Package lookup is what the RPCs of every service have in common: the rules of a request, whose token Podero is
// asked with, and the way to the document.
package lookup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"example.com/podero-facade/server/caller"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

// Desk takes requests of a service's.
type Desk struct {
	config Config
	rules  func() (protovalidate.Validator, error) // compiled when a request first needs them: that takes megabytes
}

// Config is what a Desk needs.
type Config struct {
	Finder      podero.Finder
	Passthrough bool // whether each call's own bearer token goes to Podero
}

// New returns a Desk for requests of some types.
func New(config Config, requests ...proto.Message) *Desk {
	return &Desk{config, sync.OnceValues(func() (protovalidate.Validator, error) {
		return protovalidate.New(protovalidate.WithMessages(requests...), protovalidate.WithDisableLazy())
	})}
}

// Find finds the document that a request asks for, which the key names. plain says that the request obeys the rules
// at a glance, as nearly all do: about all others the rules of the schema decide, which take longer to ask. Its
// errors are *fault.Error.
func Find[M proto.Message](ctx context.Context, d *Desk, request proto.Message, plain bool, key podero.Key) (M, error) {
	var none M
	token, err := d.token(ctx)
	if err != nil {
		return none, err
	}
	violations, _ := ctx.Value(violationsKey{}).([]fault.Violation)
	if !plain || len(violations) > 0 {
		if err := d.check(request, violations); err != nil {
			return none, err
		}
	}
	key.Token = token
	found, err := d.config.Finder.Find(ctx, key)
	message, _ := found.(M) // the type of the key's Resource
	return message, err
}

// token returns the token that a call is to ask Podero with: none, unless the caller's own goes there.
func (d *Desk) token(ctx context.Context) (secret.Text, error) {
	if !d.config.Passthrough {
		return secret.Text{}, nil
	}
	token, err := caller.BearerToken(ctx)
	switch {
	case err != nil:
		return secret.Text{}, err
	case token.IsZero():
		return secret.Text{}, fault.New(fault.CallerUnauthenticated, errors.New("there is no authorization"))
	default:
		return token, nil
	}
}

// violationsKey is the key of a context for what is wrong with a call besides the fields of its request.
type violationsKey struct{}

// WithViolations returns the context of a call that is to be refused once it is known who calls: there is something
// wrong with it that its request does not show, such as with the query of a REST call.
func WithViolations(ctx context.Context, violations []fault.Violation) context.Context {
	return context.WithValue(ctx, violationsKey{}, violations)
}

// check returns an INVALID_REQUEST with violations and every field that breaks a rule of the schema, if there are any.
func (d *Desk) check(request proto.Message, violations []fault.Violation) error {
	if bytes := notText(request); bytes != nil { // only over REST: grpc-go refuses such a message itself
		return invalid(append(bytes, violations...))
	}
	rules, err := d.rules()
	if err != nil {
		return fault.New(fault.Internal, fmt.Errorf("compile the rules of the requests: %w", err))
	}
	var broken *protovalidate.ValidationError
	if err := rules.Validate(request); err != nil && !errors.As(err, &broken) {
		return fault.New(fault.Internal, errors.New("the rules of the request can't be evaluated"))
	}
	if broken != nil {
		for _, v := range broken.Violations {
			violations = append(violations, fault.Violation{
				Field:   protovalidate.FieldPathString(v.Proto.GetField()),
				Message: v.Proto.GetMessage(),
			})
		}
	}
	return invalid(violations)
}

// notText returns the violations of the fields whose text is not UTF-8, about which the rules can't be asked.
func notText(request proto.Message) (violations []fault.Violation) {
	request.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if text, ok := value.Interface().(string); ok && !utf8.ValidString(text) {
			violations = append(violations, fault.Violation{Field: string(field.Name()), Message: "must be valid UTF-8"})
		}
		return true
	})
	return violations
}

// invalid returns an INVALID_REQUEST with violations, if there are any.
func invalid(violations []fault.Violation) error {
	if len(violations) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.InvalidRequest, Violations: violations}
}
