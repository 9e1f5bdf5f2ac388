package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// bare is what a good engineer would write by hand in an afternoon: grpc-go, net/http and encoding/json, and a
// token that never ends.
type bare struct {
	userv1.UnimplementedUserServiceServer
	base   string
	client *http.Client
}

func newBare(upstream string) *bare {
	return &bare{base: upstream + apiPath, client: &http.Client{Transport: newTransport()}}
}

// bareDocument is the upstream's document of a user.
type bareDocument struct {
	ID                  string     `json:"id"`
	OrganizationID      string     `json:"organization_id"`
	Role                string     `json:"role"`
	Email               string     `json:"email"`
	NumInverters        int32      `json:"num_inverters"`
	NumHeatPumps        int32      `json:"num_heat_pumps"`
	NumElectricVehicles int32      `json:"num_electric_vehicles"`
	NumWallboxes        int32      `json:"num_wallboxes"`
	ExternalUserID      *string    `json:"external_user_id"`
	FirstName           *string    `json:"first_name"`
	LastName            *string    `json:"last_name"`
	IsOnboarded         *bool      `json:"is_onboarded"`
	StreetAndNumber     *string    `json:"street_and_number"`
	StreetAddInfo       *string    `json:"street_add_info"`
	ZipCode             *string    `json:"zip_code"`
	Town                *string    `json:"town"`
	Country             *string    `json:"country"`
	Latitude            *float64   `json:"latitude"`
	Longitude           *float64   `json:"longitude"`
	LastLogin           *time.Time `json:"last_login"`
	JoinedAt            *time.Time `json:"joined_at"`
}

var bareRoles = map[string]userv1.Role{
	"admin": userv1.Role_ROLE_ADMIN,
	"staff": userv1.Role_ROLE_STAFF,
	"user":  userv1.Role_ROLE_USER,
	"guest": userv1.Role_ROLE_GUEST,
}

var bareCodes = map[int]codes.Code{
	http.StatusNotFound:        codes.NotFound,
	http.StatusForbidden:       codes.PermissionDenied,
	http.StatusTooManyRequests: codes.ResourceExhausted,
}

// GetUserByExternalId asks the upstream for the user.
func (s *bare) GetUserByExternalId(
	ctx context.Context, in *userv1.GetUserByExternalIdRequest,
) (*userv1.GetUserByExternalIdResponse, error) {
	target := fmt.Sprintf("%s/org/%s/users/by-ext-id/%s?include_deleted=%t",
		s.base, url.PathEscape(in.GetOrgId()), url.PathEscape(in.GetExternalId()), in.GetIncludeDeleted())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	request.Header.Set("Authorization", "Bearer "+accessToken)
	request.Header.Set("Accept", "application/json")
	response, err := s.client.Do(request)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		code, ok := bareCodes[response.StatusCode]
		if !ok {
			code = codes.Unavailable
		}
		return nil, status.Error(code, response.Status)
	}
	var document bareDocument
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &userv1.GetUserByExternalIdResponse{User: document.user()}, nil
}

func (d *bareDocument) user() *userv1.User {
	return &userv1.User{
		Id:                  d.ID,
		OrganizationId:      d.OrganizationID,
		Role:                bareRoles[d.Role],
		Email:               d.Email,
		NumInverters:        d.NumInverters,
		NumHeatPumps:        d.NumHeatPumps,
		NumElectricVehicles: d.NumElectricVehicles,
		NumWallboxes:        d.NumWallboxes,
		ExternalUserId:      d.ExternalUserID,
		FirstName:           d.FirstName,
		LastName:            d.LastName,
		IsOnboarded:         d.IsOnboarded,
		StreetAndNumber:     d.StreetAndNumber,
		StreetAddInfo:       d.StreetAddInfo,
		ZipCode:             d.ZipCode,
		Town:                d.Town,
		Country:             d.Country,
		Latitude:            d.Latitude,
		Longitude:           d.Longitude,
		LastLogin:           timestamp(d.LastLogin),
		JoinedAt:            timestamp(d.JoinedAt),
	}
}

func timestamp(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}
