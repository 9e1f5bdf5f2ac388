// Package users is the RPC podero.user.v1.UserService.
package users

import (
	"context"
	"strings"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/lookup"
	"example.com/podero-facade/server/podero"
)

// maxPlain is how many characters an external ID has at most.
const maxPlain = 255

// Service implements userv1.UserServiceServer.
type Service struct {
	userv1.UnimplementedUserServiceServer

	desk *lookup.Desk
}

// New returns a Service.
func New(config lookup.Config) *Service {
	return &Service{desk: lookup.New(config, &userv1.GetUserByExternalIdRequest{})}
}

// GetUserByExternalId checks the request, finds the user and returns it. Its errors are *fault.Error.
func (s *Service) GetUserByExternalId(
	ctx context.Context, request *userv1.GetUserByExternalIdRequest,
) (*userv1.GetUserByExternalIdResponse, error) {
	orgID, externalID := strings.ToLower(request.GetOrgId()), request.GetExternalId()
	user, err := lookup.Find[*userv1.User](ctx, s.desk, request, isPlain(orgID, externalID),
		podero.UserByExternalID(orgID, externalID, request.GetIncludeDeleted()))
	if err != nil {
		return nil, err
	}
	return &userv1.GetUserByExternalIdResponse{User: user}, nil
}

// isPlain reports whether a request obeys the rules at a glance.
func isPlain(orgID, externalID string) bool {
	if !podero.IsUUID(orgID) || len(externalID) == 0 || len(externalID) > maxPlain || externalID[0] == '.' {
		return false
	}
	for i := range len(externalID) {
		if externalID[i] < ' ' || externalID[i] > '~' {
			return false
		}
	}
	return true
}
