// Package users is the RPC podero.user.v1.UserService: the rules of a request, and the answer.
package users

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/caller"
	"example.com/podero-facade/server/fault"
	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

// maxPlain is how many characters an ID has at most.
const maxPlain = 255

// Service implements userv1.UserServiceServer.
type Service struct {
	userv1.UnimplementedUserServiceServer

	finder      podero.Finder
	passthrough bool
	rules       protovalidate.Validator
}

// Config is what a Service needs.
type Config struct {
	Finder      podero.Finder
	Passthrough bool // whether each call's own bearer token goes to Podero
}

// New returns a Service. It fails if the rules in the schema can't be compiled.
func New(config Config) (*Service, error) {
	rules, err := protovalidate.New(
		protovalidate.WithMessages(&userv1.GetUserByExternalIdRequest{}),
		protovalidate.WithDisableLazy(),
	)
	if err != nil {
		return nil, fmt.Errorf("compile the rules of the requests: %w", err)
	}
	return &Service{
		finder:      config.Finder,
		passthrough: config.Passthrough,
		rules:       rules,
	}, nil
}

// GetUserByExternalId checks the request, finds the user and returns it. Its errors are *fault.Error.
func (s *Service) GetUserByExternalId(
	ctx context.Context, request *userv1.GetUserByExternalIdRequest,
) (*userv1.GetUserByExternalIdResponse, error) {
	token, err := s.token(ctx)
	if err != nil {
		return nil, err
	}
	orgID, externalID := strings.ToLower(request.GetOrgId()), request.GetExternalId()
	if !podero.IsUUID(orgID) || !isPlain(externalID) {
		if err := s.check(request, "external_id", externalID); err != nil {
			return nil, err
		}
	}
	key := podero.UserByExternalID(orgID, externalID, request.GetIncludeDeleted())
	key.Token = token
	user, err := find[*userv1.User](ctx, s.finder, key)
	if err != nil {
		return nil, err
	}
	return &userv1.GetUserByExternalIdResponse{User: user}, nil
}

// find finds the document of a key as what it is.
func find[M proto.Message](ctx context.Context, finder podero.Finder, key podero.Key) (M, error) {
	found, err := finder.Find(ctx, key)
	message, _ := found.(M) // the type of the key's Resource
	return message, err
}

// token returns the token that a call is to ask Podero with: none, unless the caller's own goes there.
func (s *Service) token(ctx context.Context) (secret.Text, error) {
	if !s.passthrough {
		return secret.Text{}, nil
	}
	token, err := caller.BearerToken(ctx)
	if err == nil && token.IsZero() {
		err = errors.New("there is no authorization")
	}
	if err != nil {
		return secret.Text{}, fault.New(fault.CallerUnauthenticated, err)
	}
	return token, nil
}

// isPlain reports whether an ID obeys the rules at a glance, as nearly all do. About all others the rules of the
// schema decide, which take longer to ask.
func isPlain(id string) bool {
	if len(id) == 0 || len(id) > maxPlain || id[0] == '.' {
		return false
	}
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// check returns an INVALID_REQUEST that names every field that breaks a rule of the schema. The one that comes from a
// path may be no text, over REST: grpc-go refuses such a message itself.
func (s *Service) check(request proto.Message, pathField, value string) error {
	if !utf8.ValidString(value) {
		return invalid(fault.Violation{Field: pathField, Message: "must be valid UTF-8"})
	}
	err := s.rules.Validate(request)
	if err == nil {
		return nil
	}
	var broken *protovalidate.ValidationError
	if !errors.As(err, &broken) {
		return fault.New(fault.Internal, errors.New("the rules of the request can't be evaluated"))
	}
	violations := make([]fault.Violation, 0, len(broken.Violations))
	for _, v := range broken.Violations {
		violations = append(violations, fault.Violation{
			Field:   protovalidate.FieldPathString(v.Proto.GetField()),
			Message: v.Proto.GetMessage(),
		})
	}
	return invalid(violations...)
}

func invalid(violations ...fault.Violation) error {
	return &fault.Error{Kind: fault.InvalidRequest, Violations: violations}
}
