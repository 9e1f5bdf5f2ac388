package podero

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/fault"
)

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

// decodeUser maps Podero's document of a user to the message (contract.md, section 2): null and missing
// become unset, every other value is kept exactly, and a document outside the contract is an
// UPSTREAM_CONTRACT_VIOLATION that names the field where there is one, never its value.
func decodeUser(document []byte, drift *Drift) (*userv1.User, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(document))
	if token, err := dec.ReadToken(); err != nil || token.Kind() != '{' {
		return nil, violation("", "is not a JSON object")
	}
	user := &userv1.User{}
	var seen int
	for dec.PeekKind() == '"' {
		raw, err := dec.ReadValue()
		if err != nil {
			return nil, syntaxViolation(err)
		}
		name, err := text(raw)
		if err != nil {
			return nil, violation("", err.Error())
		}
		value, err := dec.ReadValue()
		if err != nil {
			return nil, syntaxViolation(err)
		}
		bit, err := setField(user, name, value, drift)
		if err != nil {
			return nil, violation(name, err.Error())
		}
		seen |= bit
	}
	if _, err := dec.ReadToken(); err != nil { // the closing brace
		return nil, syntaxViolation(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, violation("", "goes on after the document")
	}
	if seen != hasAll {
		for i, name := range requiredFields {
			if seen&(1<<i) == 0 {
				return nil, violation(name, "is missing")
			}
		}
	}
	return user, nil
}

// setField sets the field of user that a member of the document stands for. It returns the field's bit
// if it is a required one.
func setField(user *userv1.User, name string, value jsontext.Value, drift *Drift) (bit int, err error) {
	switch name {
	case "id":
		user.Id, err = text(value)
		return hasID, err
	case "organization_id":
		user.OrganizationId, err = text(value)
		return hasOrganizationID, err
	case "role":
		user.Role, err = role(value, drift)
		return hasRole, err
	case "email":
		user.Email, err = text(value)
		return hasEmail, err
	case "num_inverters":
		user.NumInverters, err = integer(value)
		return hasNumInverters, err
	case "num_heat_pumps":
		user.NumHeatPumps, err = integer(value)
		return hasNumHeatPumps, err
	case "num_electric_vehicles":
		user.NumElectricVehicles, err = integer(value)
		return hasNumElectricVehicles, err
	case "num_wallboxes":
		user.NumWallboxes, err = integer(value)
		return hasNumWallboxes, err
	case "external_user_id":
		user.ExternalUserId, err = nullable(value, textOrDigits)
	case "first_name":
		user.FirstName, err = nullable(value, text)
	case "last_name":
		user.LastName, err = nullable(value, text)
	case "is_onboarded":
		user.IsOnboarded, err = nullable(value, boolean)
	case "street_and_number":
		user.StreetAndNumber, err = nullable(value, text)
	case "street_add_info":
		user.StreetAddInfo, err = nullable(value, text)
	case "zip_code":
		user.ZipCode, err = nullable(value, textOrDigits)
	case "town":
		user.Town, err = nullable(value, text)
	case "country":
		user.Country, err = nullable(value, text)
	case "latitude":
		user.Latitude, err = nullable(value, double)
	case "longitude":
		user.Longitude, err = nullable(value, double)
	case "last_login":
		user.LastLogin, err = nullableTime(value)
	case "joined_at":
		user.JoinedAt, err = nullableTime(value)
	default:
		drift.note(driftField, name)
	}
	return 0, err
}

func nullable[T any](value jsontext.Value, parse func(jsontext.Value) (T, error)) (*T, error) {
	if value.Kind() == 'n' {
		return nil, nil
	}
	v, err := parse(value)
	return &v, err
}

func text(value jsontext.Value) (string, error) {
	if value.Kind() != '"' {
		return "", errors.New("is not a string")
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1]), nil
	}
	unquoted, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return "", errors.New("is not valid text")
	}
	return string(unquoted), nil
}

func textOrDigits(value jsontext.Value) (string, error) {
	if value.Kind() == '0' {
		return wholeNumber(string(value))
	}
	return text(value)
}

func boolean(value jsontext.Value) (bool, error) {
	switch value.Kind() {
	case 't':
		return true, nil
	case 'f':
		return false, nil
	default:
		return false, errors.New("is neither true nor false")
	}
}

func double(value jsontext.Value) (float64, error) {
	if value.Kind() != '0' {
		return 0, errNotNumber
	}
	number, err := strconv.ParseFloat(string(value), 64)
	if err != nil {
		return 0, errors.New("is outside the range of a double")
	}
	return number, nil
}

func integer(value jsontext.Value) (int32, error) {
	if value.Kind() != '0' {
		return 0, errNotNumber
	}
	digits, err := wholeNumber(string(value))
	if err != nil {
		return 0, err
	}
	number, err := strconv.ParseInt(digits, 10, 32)
	if err != nil {
		return 0, errors.New("is outside the range of an int32")
	}
	return int32(number), nil
}

var (
	errNotNumber = errors.New("is not a number")
	errNotWhole  = errors.New("is not a whole number")
)

// maxDigits bounds a whole number: more digits than any double has.
const maxDigits = 309

// wholeNumber returns the decimal digits of a JSON number that is whole however it is written: 3, 3.0
// and 300e-2 are all "3".
func wholeNumber(number string) (string, error) {
	if !strings.ContainsAny(number, ".eE") && number != "-0" {
		if len(number) > maxDigits+1 {
			return "", errNotWhole
		}
		return number, nil
	}
	mantissa, exponent := number, 0
	if i := strings.IndexAny(number, "eE"); i >= 0 {
		e, err := strconv.Atoi(strings.TrimPrefix(number[i+1:], "+"))
		switch {
		case err == nil:
			exponent = e
		case number[i+1] == '-':
			exponent = math.MinInt32
		default:
			exponent = math.MaxInt32
		}
		mantissa = number[:i]
	}
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	fraction = strings.TrimRight(fraction, "0")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0", nil
	}
	zeros := exponent - len(fraction) // how many zeros follow the digits
	if significant := strings.TrimRight(digits, "0"); zeros < 0 {
		if zeros < len(significant)-len(digits) {
			return "", errNotWhole
		}
		digits, zeros = digits[:len(digits)+zeros], 0
	}
	if len(digits)+zeros > maxDigits {
		return "", errors.New("has too many digits")
	}
	digits += strings.Repeat("0", zeros)
	if negative {
		digits = "-" + digits
	}
	return digits, nil
}

func role(value jsontext.Value, drift *Drift) (userv1.Role, error) {
	name, err := text(value)
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
		drift.note(driftRole, name)
		return userv1.Role_ROLE_UNSPECIFIED, nil
	}
}

func nullableTime(value jsontext.Value) (*timestamppb.Timestamp, error) {
	if value.Kind() == 'n' {
		return nil, nil
	}
	s, err := text(value)
	if err != nil {
		return nil, err
	}
	return parseTime(s)
}

// syntaxViolation describes an error of the JSON decoder by its place alone: its text may quote the
// document.
func syntaxViolation(err error) error {
	var syntactic *jsontext.SyntacticError
	if !errors.As(err, &syntactic) {
		return violation("", "ends within the document")
	}
	for name := range syntactic.JSONPointer.Tokens() {
		if isContractField(name) {
			return violation(name, fmt.Sprintf("is not valid JSON, or there twice (byte %d)", syntactic.ByteOffset))
		}
		break
	}
	return violation("", fmt.Sprintf("is not valid JSON, or has a key twice (byte %d)", syntactic.ByteOffset))
}

func isContractField(name string) bool {
	return (&userv1.User{}).ProtoReflect().Descriptor().Fields().ByTextName(name) != nil
}

// violation returns an UPSTREAM_CONTRACT_VIOLATION. field is a name of the contract, or "" for the
// document as a whole; problem goes on from it, as in "is missing".
func violation(field, problem string) error {
	subject := "the document"
	if field != "" {
		subject = "field " + field
	}
	cause := errors.New(subject + " " + problem)
	return &fault.Error{
		Kind:       fault.UpstreamContractViolation,
		Message:    "Podero's answer breaks the contract of its API: " + cause.Error() + ".",
		HTTPStatus: 200,
		Cause:      cause,
	}
}
