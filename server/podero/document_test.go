package podero

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
	"weak"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
	"example.com/podero-facade/server/fault"
)

func quietDrift() *Drift { return NewDrift(slog.New(slog.DiscardHandler), func(string, string) {}) }

func TestWholeNumber(t *testing.T) {
	for number, want := range map[string]string{
		"0": "0", "-0": "0", "-0.0": "0", "0e5": "0", "7": "7", "-7": "-7", "7.00": "7", "0.7e1": "7", "70e-1": "7",
		"1.5e1": "15", "1e3": "1000", "-1E+3": "-1000", "12300e-2": "123", "0.00012e5": "12",
		"1e308": "1" + strings.Repeat("0", 308), strings.Repeat("9", 309): strings.Repeat("9", 309),
		"0e99999999999999999999": "0", "0.0e-99999999999999999999": "0",
		"1.5": "", "15e-1": "", "1e-1": "", "0.1": "", "12345e-3": "", "1e309": "", "1e99999999999999999999": "", "1e-99999999999999999999": "",
		strings.Repeat("9", 311): "", "-12.5": "", "100.001": "",
	} {
		got, err := wholeNumber(number)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("wholeNumber(%s) = %q, %v, want %q", number, got, err, want)
		}
	}
}

// FuzzDocument compares the decoder with encoding/json: what it accepts is JSON, and every value in it
// is the document's.
func FuzzDocument(f *testing.F) {
	seeds, err := filepath.Glob("../sandbox/users/*.json")
	if err != nil || len(seeds) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, seed := range seeds {
		document, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(document)
	}
	const most = `"id":"i","organization_id":"o","role":"user","email":"","num_inverters":3.0,"num_heat_pumps":1e2,` +
		`"num_electric_vehicles":-0,"num_wallboxes":2147483647`
	f.Add([]byte(`{` + most + `}`))
	f.Add([]byte(`{` + most + `,"zip_code":11011,"external_user_id":1e20,"first_name":"\ud83d\ude00\u0000","last_login":"2024-02-29T23:59:60+14:00"}`))
	f.Add([]byte(`{` + most + `,"latitude":-1.7976931348623157e308,"longitude":5e-324,"joined_at":"0001-01-01T00:00:00.000000001"}`))
	f.Add([]byte(`{` + most + `,"x":{"a":[1e999,{"b":null}]},"role":"user"}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		user, err := readUser(document, quietDrift())
		if err != nil {
			if !fault.Is(err, fault.UpstreamContractViolation) || user != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(document))
		decoder.UseNumber()
		var want map[string]any
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			t.Fatal("accepted two documents")
		}
		compare(t, user, want)
	})
}

func TestADecoderKeepsNoDocument(t *testing.T) {
	for _, document := range []string{`{"id":"Peter Schmidt","role":7,"email":"peter@example.com"}`, `{"id":"Peter Schmidt, whom nobody knows`} {
		body := []byte(document)
		kept := weak.Make(&body[0])
		if _, err := readUser(body, quietDrift()); err == nil {
			t.Fatal("the document was read")
		}
		runtime.GC() // keeps what is in a pool for one more time
		if kept.Value() != nil {
			t.Errorf("%s is still there", document)
		}
	}
}

func compare(t *testing.T, user *userv1.User, want map[string]any) {
	t.Helper()
	fields := user.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		sent, got := want[string(field.Name())], user.ProtoReflect().Get(field)
		if sent == nil {
			if !field.HasPresence() || user.ProtoReflect().Has(field) {
				t.Fatalf("%s has a value that nobody sent", field.Name())
			}
			continue
		}
		if field.HasPresence() && !user.ProtoReflect().Has(field) {
			t.Fatalf("%s lost its value", field.Name())
		}
		if !same(field, sent, got) {
			t.Fatalf("%s = %v, want %v", field.Name(), got, sent)
		}
	}
}

func same(field protoreflect.FieldDescriptor, sent any, got protoreflect.Value) bool {
	switch field.Kind() {
	case protoreflect.StringKind:
		if number, ok := sent.(json.Number); ok {
			whole, ok := new(big.Rat).SetString(string(number))
			return ok && whole.IsInt() && whole.Num().String() == got.String()
		}
		return sent == got.String() && utf8.ValidString(got.String())
	case protoreflect.Int32Kind:
		whole, ok := new(big.Rat).SetString(string(sent.(json.Number)))
		return ok && whole.Cmp(new(big.Rat).SetInt64(got.Int())) == 0
	case protoreflect.DoubleKind:
		number, err := sent.(json.Number).Float64()
		return err == nil && number == got.Float()
	case protoreflect.BoolKind:
		return sent == got.Bool()
	case protoreflect.EnumKind:
		roles := map[any]userv1.Role{
			"admin": userv1.Role_ROLE_ADMIN, "staff": userv1.Role_ROLE_STAFF, "user": userv1.Role_ROLE_USER, "guest": userv1.Role_ROLE_GUEST,
		}
		return roles[sent].Number() == got.Enum()
	case protoreflect.MessageKind:
		text := strings.ToUpper(sent.(string))
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			at, err = time.Parse("2006-01-02T15:04:05", text)
		}
		return err == nil && at.Equal(got.Message().Interface().(*timestamppb.Timestamp).AsTime())
	default:
		return false
	}
}
