package podero

import (
	"net/url"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/fault"
)

// User is the user behind an external ID.
var User = &Resource{
	Template: "/org/{org_id}/users/by-ext-id/{external_id}",
	Message:  (*userv1.User)(nil),
	Missing:  fault.UserNotFound,
	Matches:  matchesUser,
	Decode:   decodeUser,
}

// UserByExternalID returns the key of a user. The external ID is one path segment: PathEscape escapes all that
// could end one, and the two segments that would climb, . and .., are no external IDs.
func UserByExternalID(orgID, externalID string, includeDeleted bool) Key {
	query := ""
	if includeDeleted {
		query = "?include_deleted=true"
	}
	return Key{
		Resource: User,
		OrgID:    orgID,
		Path:     "/org/" + orgID + "/users/by-ext-id/" + url.PathEscape(externalID) + query,
	}
}

// matchesUser reports whether a user has the external ID of a key, or none.
func matchesUser(key Key, message proto.Message) bool {
	user, ok := message.(*userv1.User)
	if !ok || user.ExternalUserId == nil {
		return ok
	}
	path, _, _ := strings.Cut(key.Path, "?")
	return path[strings.LastIndexByte(path, '/')+1:] == url.PathEscape(user.GetExternalUserId())
}

// The required fields, as bits of the set of those that a document had.
const (
	hasID = 1 << iota
	hasOrganizationID
	hasRole
	hasEmail
	hasNumInverters
	hasNumHeatPumps
	hasNumElectricVehicles
	hasNumWallboxes
	hasAll = 1<<iota - 1
)

// requiredFields names the bits of the required fields, in their order.
var requiredFields = [...]string{
	"id", "organization_id", "role", "email",
	"num_inverters", "num_heat_pumps", "num_electric_vehicles", "num_wallboxes",
}

// userRecord is a User on its way from its document, with all that its optional fields may point to, so that it
// takes one allocation.
type userRecord struct {
	user                userv1.User
	texts               [8]string
	used                int // how many of the texts are in use
	onboarded           bool
	latitude, longitude float64
	lastLogin, joinedAt timestamppb.Timestamp
	seen                int // which required fields there were
}

// decodeUser maps Podero's document of a user to the message (contract.md, section 2): null and missing
// become unset, every other value is kept exactly, and a document outside the contract is an
// UPSTREAM_CONTRACT_VIOLATION that names the field where there is one, never its value.
func decodeUser(body []byte, orgID string, drift *Drift) (proto.Message, error) {
	user, err := readUser(body, drift)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(user.GetOrganizationId(), orgID) {
		return nil, violation("organization_id", "is not the organization that was asked for")
	}
	return user, nil
}

// readUser maps a document of any organization.
func readUser(body []byte, drift *Drift) (*userv1.User, error) {
	record := &userRecord{}
	user := &record.user
	if err := decode(body, drift, user, record); err != nil {
		return nil, err
	}
	if record.seen != hasAll {
		for i, name := range requiredFields {
			if record.seen&(1<<i) == 0 {
				return nil, violation(name, "is missing")
			}
		}
	}
	return user, nil
}

// set sets the field that a member of the document stands for.
func (r *userRecord) set(d *document, name, value string) (err error) {
	user := &r.user
	switch name {
	case "id":
		user.Id, err = d.text(value)
		r.seen |= hasID
	case "organization_id":
		user.OrganizationId, err = d.text(value)
		r.seen |= hasOrganizationID
	case "role":
		user.Role, err = d.role(value)
		r.seen |= hasRole
	case "email":
		user.Email, err = d.text(value)
		r.seen |= hasEmail
	case "num_inverters":
		user.NumInverters, err = integer(value)
		r.seen |= hasNumInverters
	case "num_heat_pumps":
		user.NumHeatPumps, err = integer(value)
		r.seen |= hasNumHeatPumps
	case "num_electric_vehicles":
		user.NumElectricVehicles, err = integer(value)
		r.seen |= hasNumElectricVehicles
	case "num_wallboxes":
		user.NumWallboxes, err = integer(value)
		r.seen |= hasNumWallboxes
	case "external_user_id":
		user.ExternalUserId, err = nullable(value, d.textOrDigits, r.place())
	case "first_name":
		user.FirstName, err = nullable(value, d.text, r.place())
	case "last_name":
		user.LastName, err = nullable(value, d.text, r.place())
	case "is_onboarded":
		user.IsOnboarded, err = nullable(value, boolean, &r.onboarded)
	case "street_and_number":
		user.StreetAndNumber, err = nullable(value, d.text, r.place())
	case "street_add_info":
		user.StreetAddInfo, err = nullable(value, d.text, r.place())
	case "zip_code":
		user.ZipCode, err = nullable(value, d.textOrDigits, r.place())
	case "town":
		user.Town, err = nullable(value, d.text, r.place())
	case "country":
		user.Country, err = nullable(value, d.text, r.place())
	case "latitude":
		user.Latitude, err = nullable(value, double, &r.latitude)
	case "longitude":
		user.Longitude, err = nullable(value, double, &r.longitude)
	case "last_login":
		user.LastLogin, err = d.nullableTime(value, &r.lastLogin)
	case "joined_at":
		user.JoinedAt, err = d.nullableTime(value, &r.joinedAt)
	default:
		d.drift.note(driftField, name)
	}
	return err
}

// place returns a place for a text. There are as many as texts that can be null, and no member comes twice.
func (r *userRecord) place() *string {
	r.used++
	return &r.texts[r.used-1]
}

// role returns the role of a name. One that the contract does not know is ROLE_UNSPECIFIED.
func (d *document) role(value string) (userv1.Role, error) {
	name, err := d.text(value)
	if err != nil {
		return 0, err
	}
	switch name {
	case "admin":
		return userv1.Role_ROLE_ADMIN, nil
	case "staff":
		return userv1.Role_ROLE_STAFF, nil
	case "user":
		return userv1.Role_ROLE_USER, nil
	case "guest":
		return userv1.Role_ROLE_GUEST, nil
	default:
		d.drift.note(driftRole, name)
		return userv1.Role_ROLE_UNSPECIFIED, nil
	}
}
