package podero

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"

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

// maxShared is the longest document, in bytes, whose texts a User shares instead of having copies of them: a User that
// is kept keeps the whole document then.
const maxShared = 4 << 10

// decoder is what decoding a document needs and the next one can use again.
type decoder struct {
	json  jsontext.Decoder
	input bytes.Buffer
}

// decoders gives decoders. A pool is safe for everybody.
var decoders = sync.Pool{New: func() any { return new(decoder) }}

// decodeUser maps Podero's document of a user to the message (contract.md, section 2): null and missing
// become unset, every other value is kept exactly, and a document outside the contract is an
// UPSTREAM_CONTRACT_VIOLATION that names the field where there is one, never its value.
func decodeUser(document []byte, drift *Drift) (*userv1.User, error) {
	d := decoders.Get().(*decoder)
	defer decoders.Put(d)
	d.input = *bytes.NewBuffer(document)
	dec := &d.json
	dec.Reset(&d.input)
	if token, err := dec.ReadToken(); err != nil || token.Kind() != '{' {
		return nil, violation("", "is not a JSON object")
	}
	m := mapping{document: string(document), drift: drift, record: &record{}}
	for dec.PeekKind() == '"' {
		name, err := m.read(dec)
		if err != nil {
			return nil, syntaxViolation(err)
		}
		if name, err = m.text(name); err != nil {
			return nil, violation("", err.Error())
		}
		value, err := m.read(dec)
		if err != nil {
			return nil, syntaxViolation(err)
		}
		if err := m.set(name, value); err != nil {
			return nil, violation(name, err.Error())
		}
	}
	if _, err := dec.ReadToken(); err != nil { // the closing brace
		return nil, syntaxViolation(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, violation("", "goes on after the document")
	}
	if m.seen != hasAll {
		for i, name := range requiredFields {
			if m.seen&(1<<i) == 0 {
				return nil, violation(name, "is missing")
			}
		}
	}
	return &m.record.user, nil
}

// record is a User with all that its optional fields may point to, so that it takes one allocation.
type record struct {
	user                userv1.User
	texts               [8]string
	onboarded           bool
	latitude, longitude float64
	lastLogin, joinedAt timestamppb.Timestamp
}

// mapping is a document on its way to a record. Values are the text of the document as it is there.
type mapping struct {
	document string
	drift    *Drift
	record   *record
	texts    int // how many of the record's are in use
	seen     int // which required fields there were
}

// read reads the next value.
func (m *mapping) read(dec *jsontext.Decoder) (string, error) {
	value, err := dec.ReadValue()
	end := int(dec.InputOffset())
	return m.document[end-len(value) : end], err
}

// set sets the field that a member of the document stands for. No name comes twice: the decoder refuses that.
func (m *mapping) set(name, value string) (err error) {
	user := &m.record.user
	switch name {
	case "id":
		user.Id, err = m.text(value)
		m.seen |= hasID
	case "organization_id":
		user.OrganizationId, err = m.text(value)
		m.seen |= hasOrganizationID
	case "role":
		user.Role, err = m.role(value)
		m.seen |= hasRole
	case "email":
		user.Email, err = m.text(value)
		m.seen |= hasEmail
	case "num_inverters":
		user.NumInverters, err = integer(value)
		m.seen |= hasNumInverters
	case "num_heat_pumps":
		user.NumHeatPumps, err = integer(value)
		m.seen |= hasNumHeatPumps
	case "num_electric_vehicles":
		user.NumElectricVehicles, err = integer(value)
		m.seen |= hasNumElectricVehicles
	case "num_wallboxes":
		user.NumWallboxes, err = integer(value)
		m.seen |= hasNumWallboxes
	case "external_user_id":
		user.ExternalUserId, err = m.nullableText(value, m.textOrDigits)
	case "first_name":
		user.FirstName, err = m.nullableText(value, m.text)
	case "last_name":
		user.LastName, err = m.nullableText(value, m.text)
	case "is_onboarded":
		user.IsOnboarded, err = nullable(value, boolean, &m.record.onboarded)
	case "street_and_number":
		user.StreetAndNumber, err = m.nullableText(value, m.text)
	case "street_add_info":
		user.StreetAddInfo, err = m.nullableText(value, m.text)
	case "zip_code":
		user.ZipCode, err = m.nullableText(value, m.textOrDigits)
	case "town":
		user.Town, err = m.nullableText(value, m.text)
	case "country":
		user.Country, err = m.nullableText(value, m.text)
	case "latitude":
		user.Latitude, err = nullable(value, double, &m.record.latitude)
	case "longitude":
		user.Longitude, err = nullable(value, double, &m.record.longitude)
	case "last_login":
		user.LastLogin, err = m.nullableTime(value, &m.record.lastLogin)
	case "joined_at":
		user.JoinedAt, err = m.nullableTime(value, &m.record.joinedAt)
	default:
		m.drift.note(driftField, name)
	}
	return err
}

const null = "null"

// nullable parses a value to a place in the record, unless it is null.
func nullable[T any](value string, parse func(string) (T, error), place *T) (_ *T, err error) {
	if value == null {
		return nil, nil
	}
	*place, err = parse(value)
	return place, err
}

func (m *mapping) nullableText(value string, parse func(string) (string, error)) (*string, error) {
	if value == null {
		return nil, nil
	}
	place := &m.record.texts[m.texts]
	m.texts++
	return nullable(value, parse, place)
}

func (m *mapping) text(value string) (string, error) {
	if value[0] != '"' {
		return "", errors.New("is not a string")
	}
	inside := value[1 : len(value)-1]
	if strings.IndexByte(inside, '\\') < 0 {
		return m.own(inside), nil
	}
	unquoted, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return "", errors.New("is not valid text")
	}
	return string(unquoted), nil
}

// own returns a part of the document for a User to keep.
func (m *mapping) own(part string) string {
	if len(m.document) > maxShared {
		return strings.Clone(part)
	}
	return part
}

func (m *mapping) textOrDigits(value string) (string, error) {
	if isNumber(value) {
		digits, err := wholeNumber(value)
		return m.own(digits), err
	}
	return m.text(value)
}

func isNumber(value string) bool { return value[0] == '-' || '0' <= value[0] && value[0] <= '9' }

func boolean(value string) (bool, error) {
	switch value {
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return false, errors.New("is neither true nor false")
	}
}

func double(value string) (float64, error) {
	if !isNumber(value) {
		return 0, errNotNumber
	}
	number, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return 0, errors.New("is outside the range of a double")
	}
	return number, nil
}

func integer(value string) (int32, error) {
	if !isNumber(value) {
		return 0, errNotNumber
	}
	digits, err := wholeNumber(value)
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

func (m *mapping) role(value string) (userv1.Role, error) {
	name, err := m.text(value)
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
		m.drift.note(driftRole, name)
		return userv1.Role_ROLE_UNSPECIFIED, nil
	}
}

func (m *mapping) nullableTime(value string, place *timestamppb.Timestamp) (*timestamppb.Timestamp, error) {
	if value == null {
		return nil, nil
	}
	text, err := m.text(value)
	if err != nil {
		return nil, err
	}
	return place, parseTime(text, place)
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
