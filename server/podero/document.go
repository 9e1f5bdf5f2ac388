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
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"example.com/podero-facade/server/fault"
)

// MaxShared is the longest document, in bytes, whose texts a message shares instead of having copies of them: a message that
// is kept keeps the whole document then. A usual one has 650 bytes.
const MaxShared = 1 << 10

// decoder is what decoding a document needs and the next one can use again.
type decoder struct {
	json     jsontext.Decoder
	input    bytes.Buffer
	document document
}

// reset makes the decoder read another document.
func (r *decoder) reset(body []byte, drift *Drift) {
	r.input = *bytes.NewBuffer(body)
	r.json.Reset(&r.input)
	r.document = document{string(body), drift}
}

// decoders gives decoders. A pool is safe for everybody.
var decoders = sync.Pool{New: func() any { return new(decoder) }}

// members takes the members of a JSON object, such as those of a user. No name comes twice: the decoder refuses that.
type members interface {
	set(d *document, name, value string) error
}

// document is a document on its way to a message. Values are the text of the document as it is there.
type document struct {
	whole string
	drift *Drift
}

// decode reads a document, one JSON object, member by member. message is what it becomes: the fields of its type
// are those that an error may name.
func decode(body []byte, drift *Drift, message proto.Message, to members) error {
	r := decoders.Get().(*decoder)
	defer func() {
		r.reset(nil, nil) // or it would keep a person's data until somebody uses it again
		decoders.Put(r)
	}()
	r.reset(body, drift)
	dec, d := &r.json, &r.document
	if token, err := dec.ReadToken(); err != nil || token.Kind() != '{' {
		return violation("", "is not a JSON object")
	}
	for dec.PeekKind() == '"' {
		name, err := d.read(dec)
		if err != nil {
			return syntaxViolation(err, message)
		}
		if name, err = d.text(name); err != nil {
			return violation("", err.Error())
		}
		value, err := d.read(dec)
		if err != nil {
			return syntaxViolation(err, message)
		}
		if err := to.set(d, name, value); err != nil {
			return violation(name, err.Error())
		}
	}
	if _, err := dec.ReadToken(); err != nil { // the closing brace
		return syntaxViolation(err, message)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return violation("", "goes on after the document")
	}
	return nil
}

// read reads the next value.
func (d *document) read(dec *jsontext.Decoder) (string, error) {
	value, err := dec.ReadValue()
	end := int(dec.InputOffset())
	return d.whole[end-len(value) : end], err
}

const null = "null"

// nullable parses a value to a place, unless it is null.
func nullable[T any](value string, parse func(string) (T, error), place *T) (_ *T, err error) {
	if value == null {
		return nil, nil
	}
	*place, err = parse(value)
	return place, err
}

func (d *document) text(value string) (string, error) {
	if value[0] != '"' {
		return "", errors.New("is not a string")
	}
	inside := value[1 : len(value)-1]
	if strings.IndexByte(inside, '\\') < 0 {
		return d.own(inside), nil
	}
	unquoted, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return "", errors.New("is not valid text")
	}
	return string(unquoted), nil
}

// own returns a part of the document for a message to keep.
func (d *document) own(part string) string {
	if len(d.whole) > MaxShared {
		return strings.Clone(part)
	}
	return part
}

func (d *document) textOrDigits(value string) (string, error) {
	if !isNumber(value) {
		return d.text(value)
	}
	if _, err := double(value); err != nil {
		return "", err
	}
	digits, err := wholeNumber(value)
	return d.own(digits), err
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

func (d *document) nullableTime(value string, place *timestamppb.Timestamp) (*timestamppb.Timestamp, error) {
	if value == null {
		return nil, nil
	}
	text, err := d.text(value)
	if err != nil {
		return nil, err
	}
	return place, parseTime(text, place)
}

// syntaxViolation describes an error of the JSON decoder by its place alone: its text may quote the
// document.
func syntaxViolation(err error, message proto.Message) error {
	var syntactic *jsontext.SyntacticError
	if !errors.As(err, &syntactic) {
		return violation("", "ends within the document")
	}
	fields := message.ProtoReflect().Descriptor().Fields()
	for name := range syntactic.JSONPointer.Tokens() {
		if fields.ByTextName(name) != nil {
			return violation(name, fmt.Sprintf("is not valid JSON, or there twice (byte %d)", syntactic.ByteOffset))
		}
		break
	}
	return violation("", fmt.Sprintf("is not valid JSON, or has a key twice (byte %d)", syntactic.ByteOffset))
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
