package server_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// member is a member of a JSON object: its name and its value as JSON.
type member struct{ name, value string }

// fullUser is a document in which every field has a value.
var fullUser = []member{
	{"id", `"3c90c3cc-0d44-4b50-8888-8dd25736052a"`},
	{"organization_id", `"016b78a7-0c7c-4241-a277-015c3ad3cb90"`},
	{"role", `"admin"`},
	{"email", `"peter.schmidt@example.com"`},
	{"num_inverters", `1`},
	{"num_heat_pumps", `2`},
	{"num_electric_vehicles", `3`},
	{"num_wallboxes", `4`},
	{"external_user_id", `"134681893870"`},
	{"first_name", `"Peter"`},
	{"last_name", `"Schmidt"`},
	{"is_onboarded", `true`},
	{"street_and_number", `"Platz der Republik 1"`},
	{"street_add_info", `"Apt 4B"`},
	{"zip_code", `"11011"`},
	{"town", `"Berlin"`},
	{"country", `"DEU"`},
	{"latitude", `52.5186`},
	{"longitude", `13.3762`},
	{"last_login", `"2023-11-07T05:31:56Z"`},
	{"joined_at", `"2023-07-15T19:34:29.123Z"`},
}

// document returns the document of fullUser with some values replaced. An empty value leaves the
// member out; a member that fullUser does not have goes to the end.
func document(changes ...member) string {
	var members []string
	rest := changes
	for _, m := range fullUser {
		for i, change := range rest {
			if change.name == m.name {
				m = change
				rest = append(append([]member{}, rest[:i]...), rest[i+1:]...)
				break
			}
		}
		if m.value != "" {
			members = append(members, `"`+m.name+`":`+m.value)
		}
	}
	for _, m := range rest {
		members = append(members, `"`+m.name+`":`+m.value)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

// mappings are what a field's value becomes (contract.md, section 2).
var mappings = []struct {
	field, sent string
	want        any
}{
	{"role", `"admin"`, "admin"},
	{"role", `"staff"`, "staff"},
	{"role", `"user"`, "user"},
	{"role", `"guest"`, "guest"},
	{"role", `"ADMIN"`, "unspecified"},
	{"role", `""`, "unspecified"},
	{"role", `"unspecified"`, "unspecified"},
	{"role", `"overlord"`, "unspecified"},

	{"num_inverters", `0`, 0.0},
	{"num_inverters", `-0`, 0.0},
	{"num_inverters", `3.0`, 3.0},
	{"num_inverters", `1e2`, 100.0},
	{"num_inverters", `1E+2`, 100.0},
	{"num_inverters", `300e-2`, 3.0},
	{"num_inverters", `0.3e1`, 3.0},
	{"num_inverters", `0e999999999999`, 0.0},
	{"num_inverters", `-7`, -7.0},
	{"num_inverters", `2147483647`, 2147483647.0},
	{"num_inverters", `-2147483648`, -2147483648.0},
	{"num_inverters", `2147483647.000`, 2147483647.0},

	{"zip_code", `"01067"`, "01067"},
	{"zip_code", `1067`, "1067"},
	{"zip_code", `1067.0`, "1067"},
	{"zip_code", `1e4`, "10000"},
	{"zip_code", `0`, "0"},
	{"zip_code", `-5`, "-5"},
	{"external_user_id", `"007"`, "007"},
	{"external_user_id", `134681893870`, "134681893870"},
	{"external_user_id", `12345678901234567890123`, "12345678901234567890123"},
	{"external_user_id", `1234567890123456789.0`, "1234567890123456789"},
	{"external_user_id", `17e307`, "17" + strings.Repeat("0", 307)},
	{"external_user_id", `1` + strings.Repeat("7", 308), "1" + strings.Repeat("7", 308)},

	{"email", `""`, ""},
	{"email", `"a@b\u002ede"`, "a@b.de"},
	{"first_name", `"Zo\u00eb \"\\\/\b\f\n\r\t\ud83d\ude00"`, "Zoë \"\\/\b\f\n\r\t😀"},
	{"first_name", `"<script>&\u2028\u0000"`, "<script>&\u2028\x00"},
	{"first_name", `"Łukasz 😀"`, "Łukasz 😀"},

	{"latitude", `-89.999999999999999`, -90.0},
	{"latitude", `52`, 52.0},
	{"latitude", `1e-7`, 1e-7},
	{"latitude", `1.7976931348623157e308`, 1.7976931348623157e308},
	{"latitude", `5e-324`, 5e-324},
	{"latitude", `123456789012345678`, 123456789012345678.0},

	{"last_login", `"2023-11-07T05:31:56"`, at("2023-11-07T05:31:56Z")},
	{"last_login", `"2023-11-07T05:31:56.1"`, at("2023-11-07T05:31:56.1Z")},
	{"last_login", `"2023-11-07T05:31:56.123456Z"`, at("2023-11-07T05:31:56.123456Z")},
	{"last_login", `"2023-11-07T05:31:56.123456789Z"`, at("2023-11-07T05:31:56.123456789Z")},
	{"last_login", `"2023-11-07T05:31:56+02:00"`, at("2023-11-07T03:31:56Z")},
	{"last_login", `"2023-11-07T05:31:56.000000001-23:59"`, at("2023-11-08T05:30:56.000000001Z")},
	{"last_login", `"2023-11-07t05:31:56z"`, at("2023-11-07T05:31:56Z")},
	{"last_login", `"2024-02-29T23:59:59-00:30"`, at("2024-03-01T00:29:59Z")},
	{"last_login", `"0001-01-01T00:00:00Z"`, at("0001-01-01T00:00:00Z")},
	{"last_login", `"9999-12-31T23:59:59.999999999Z"`, at("9999-12-31T23:59:59.999999999Z")},
	{"last_login", `"1969-12-31T23:59:59.5Z"`, at("1969-12-31T23:59:59.5Z")},
}

// zeros are the values of nullable fields that some would take for none.
var zeros = map[string]struct {
	sent string
	want any
}{
	"external_user_id":  {`""`, ""},
	"first_name":        {`""`, ""},
	"last_name":         {`""`, ""},
	"is_onboarded":      {`false`, false},
	"street_and_number": {`""`, ""},
	"street_add_info":   {`""`, ""},
	"zip_code":          {`""`, ""},
	"town":              {`""`, ""},
	"country":           {`""`, ""},
	"latitude":          {`0`, 0.0},
	"longitude":         {`0.0`, 0.0},
	"last_login":        {`"1970-01-01T00:00:00Z"`, time.Unix(0, 0).UTC()},
	"joined_at":         {`"1970-01-01T00:00:00"`, time.Unix(0, 0).UTC()},
}

func TestEveryValueReachesTheCaller(t *testing.T) {
	u := newUpstream(t, nil, nil)
	s := start(t, u, nil)
	all := fieldsOfJSON(t, []byte(document()))
	expect := func(t *testing.T, change member, want any) {
		t.Helper()
		u.answer(replyJSON(200, document(change)))
		expected := maps.Clone(all)
		expected[change.name] = want
		overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
			got := lookup(theUser(), nil)
			if got.user == nil {
				t.Fatalf("%s: %s", got.reason, got.message)
			}
			if len(got.user) != len(fullUser) {
				t.Errorf("%d fields, want %d", len(got.user), len(fullUser))
			}
			for name, value := range expected {
				if got.user[name] != value {
					t.Errorf("%s = %#v, want %#v", name, got.user[name], value)
				}
			}
		})
	}
	for _, m := range mappings {
		t.Run(m.field+"="+m.sent, func(t *testing.T) { expect(t, member{m.field, m.sent}, m.want) })
	}
	for name, zero := range zeros {
		t.Run(name+" null", func(t *testing.T) { expect(t, member{name, `null`}, nil) })
		t.Run(name+" missing", func(t *testing.T) { expect(t, member{name, ``}, nil) })
		t.Run(name+" zero", func(t *testing.T) { expect(t, member{name, zero.sent}, zero.want) })
	}
	for _, m := range fullUser {
		t.Run(m.name+" as documented", func(t *testing.T) { expect(t, m, all[m.name]) })
	}
}

func TestKeysThatTheContractDoesNotKnow(t *testing.T) {
	for _, value := range []string{`1`, `1e999`, `{"a":{"email":[null,"x"]}}`, `"text"`, `[]`, `null`} {
		t.Run(value, func(t *testing.T) {
			s := start(t, newUpstream(t, replyJSON(200, document(member{"tariff", value})), nil), nil)
			overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
				if got := lookup(theUser(), nil); len(got.user) != len(fullUser) {
					t.Errorf("%d fields, %s", len(got.user), got.message)
				}
			})
			if count := strings.Count(s.log.String(), `"name":"tariff"`); count != 1 {
				t.Errorf("logged %d times, want once", count)
			}
			if got := s.metric(t, `podero_facade_contract_drift_total{kind="field",name="tariff"}`); got != "2" {
				t.Errorf("counted %s times, want 2", got)
			}
		})
	}
}

// violations are documents outside the contract. The message names the field, or the document as a whole.
var contractViolations = []struct {
	name, document, names string
}{
	{"required null", document(member{"id", `null`}), "field id"},
	{"text of another type", document(member{"first_name", `7`}), "field first_name"},
	{"required text of another type", document(member{"email", `{}`}), "field email"},
	{"role of another type", document(member{"role", `3`}), "field role"},
	{"truth as text", document(member{"is_onboarded", `"true"`}), "field is_onboarded"},
	{"truth as number", document(member{"is_onboarded", `1`}), "field is_onboarded"},
	{"integer as text", document(member{"num_inverters", `"3"`}), "field num_inverters"},
	{"integer as truth", document(member{"num_heat_pumps", `true`}), "field num_heat_pumps"},
	{"integer with a fraction", document(member{"num_wallboxes", `3.5`}), "field num_wallboxes"},
	{"integer with a tiny fraction", document(member{"num_wallboxes", `3.00000000000000000000001`}), "field num_wallboxes"},
	{"integer with a tiny exponent", document(member{"num_wallboxes", `1e-999999999999`}), "field num_wallboxes"},
	{"integer above int32", document(member{"num_wallboxes", `2147483648`}), "field num_wallboxes"},
	{"integer below int32", document(member{"num_wallboxes", `-2147483649`}), "field num_wallboxes"},
	{"integer far outside", document(member{"num_wallboxes", `1e999999999999`}), "field num_wallboxes"},
	{"double as text", document(member{"latitude", `"52.5"`}), "field latitude"},
	{"double too large", document(member{"longitude", `1e309`}), "field longitude"},
	{"number with a fraction as text", document(member{"zip_code", `11011.5`}), "field zip_code"},
	{"number without end as text", document(member{"external_user_id", `1e400`}), "field external_user_id"},
	{"number beyond a double as text", document(member{"external_user_id", `2e308`}), "field external_user_id"},
	{"number beyond a double as text, in digits", document(member{"zip_code", `-2` + strings.Repeat("0", 308)}), "field zip_code"},
	{"zip code of another type", document(member{"zip_code", `["11011"]`}), "field zip_code"},
	{"time as number", document(member{"last_login", `1700000000`}), "field last_login"},
	{"time as a date", document(member{"last_login", `"2023-11-07"`}), "field last_login"},
	{"time with a blank", document(member{"last_login", `"2023-11-07 05:31:56Z"`}), "field last_login"},
	{"time with ten digits", document(member{"last_login", `"2023-11-07T05:31:56.1234567890Z"`}), "field last_login"},
	{"time with a point alone", document(member{"last_login", `"2023-11-07T05:31:56.Z"`}), "field last_login"},
	{"time with a comma", document(member{"last_login", `"2023-11-07T05:31:56,5Z"`}), "field last_login"},
	{"time with one digit", document(member{"last_login", `"2023-11-07T5:31:56Z"`}), "field last_login"},
	{"time with a sign", document(member{"last_login", `"2023-11-07T+5:31:56Z"`}), "field last_login"},
	{"day that does not exist", document(member{"last_login", `"2023-02-29T05:31:56Z"`}), "field last_login"},
	{"month that does not exist", document(member{"last_login", `"2023-13-01T05:31:56Z"`}), "field last_login"},
	{"hour that does not exist", document(member{"last_login", `"2023-11-07T24:00:00Z"`}), "field last_login"},
	{"leap second", document(member{"joined_at", `"2016-12-31T23:59:60Z"`}), "field joined_at"},
	{"offset too large", document(member{"joined_at", `"2023-11-07T05:31:56+24:00"`}), "field joined_at"},
	{"offset without colon", document(member{"joined_at", `"2023-11-07T05:31:56+0200"`}), "field joined_at"},
	{"year zero", document(member{"joined_at", `"0000-01-01T00:00:00Z"`}), "field joined_at"},
	{"before the year one", document(member{"joined_at", `"0001-01-01T00:00:00+00:01"`}), "field joined_at"},
	{"after the year 9999", document(member{"joined_at", `"9999-12-31T23:59:59-00:01"`}), "field joined_at"},
	{"empty time", document(member{"joined_at", `""`}), "field joined_at"},

	{"text not UTF-8", document(member{"first_name", "\"a\xffb\""}), "field first_name"},
	{"lone surrogate", document(member{"first_name", `"\ud83d"`}), "field first_name"},
	{"lone low surrogate", document(member{"last_name", `"a\ude00b"`}), "field last_name"},
	{"bad escape", document(member{"last_name", `"\x41"`}), "field last_name"},
	{"control character in text", document(member{"last_name", "\"a\nb\""}), "field last_name"},
	{"unknown key's text not UTF-8", document(member{"tariff", "\"\xff\""}), "the document"},
	{"unknown key's lone surrogate", document(member{"tariff", `["\udc00"]`}), "the document"},
	{"key not UTF-8", document(member{"tar\xff", `1`}), "the document"},
	{"duplicate key", strings.Replace(document(), `{`, `{"email":"x",`, 1), "field email"},
	{"duplicate key, written differently", strings.Replace(document(), `{`, `{"\u0065mail":"x",`, 1), "field email"},
	{"duplicate unknown key", document(member{"tariff", `1`}, member{"tariff", `1`}), "the document"},
	{"duplicate key inside an unknown key", document(member{"tariff", `{"a":1,"a":1}`}), "the document"},

	{"empty body", ``, "the document"},
	{"null", `null`, "the document"},
	{"array", `[` + document() + `]`, "the document"},
	{"text alone", `"user"`, "the document"},
	{"not JSON", `<html></html>`, "the document"},
	{"cut short in a value", document()[:100], "field organization_id"},
	{"cut short before the end", strings.TrimSuffix(document(), "}"), "the document"},
	{"comma at the end", strings.TrimSuffix(document(), "}") + ",}", "the document"},
	{"single quotes", strings.ReplaceAll(document(), `"`, `'`), "the document"},
	{"byte order mark", "\ufeff" + document(), "the document"},
	{"NaN", document(member{"latitude", `NaN`}), "latitude"},
	{"leading zero", document(member{"num_inverters", `03`}), ""},
	{"two documents", document() + document(), "the document"},
	{"text after the document", document() + "x", "the document"},
	{"over 1 MiB", document(member{"tariff", `"` + strings.Repeat("x", 1<<20) + `"`}), "the document has more than 1 MiB"},

	{"another organization", document(member{"organization_id", `"99999999-0c7c-4241-a277-015c3ad3cb90"`}), "field organization_id"},
	{"no organization", document(member{"organization_id", `""`}), "field organization_id"},
}

func TestADocumentOutsideTheContractIsRefused(t *testing.T) {
	u := newUpstream(t, nil, nil)
	s := start(t, u, nil)
	refused := func(t *testing.T, names string) {
		t.Helper()
		overBoth(t, s, func(t *testing.T, lookup func(*userv1.GetUserByExternalIdRequest, http.Header) answer) {
			got := lookup(theUser(), nil)
			if got.user != nil || got.code != codes.Internal || got.reason != "UPSTREAM_CONTRACT_VIOLATION" {
				t.Fatalf("user %v, %v, %s", got.user != nil, got.code, got.reason)
			}
			if !strings.Contains(got.message, names) {
				t.Errorf("message %q does not name %q", got.message, names)
			}
			if got.http != nil && got.http.StatusCode != 500 {
				t.Errorf("HTTP status %d", got.http.StatusCode)
			}
			if got.http == nil && got.metadata["http_status"] != "200" {
				t.Errorf("metadata %v", got.metadata)
			}
		})
	}
	for _, c := range contractViolations {
		t.Run(c.name, func(t *testing.T) {
			u.answer(replyJSON(200, c.document))
			refused(t, c.names)
		})
	}
	for _, name := range []string{
		"id", "organization_id", "role", "email",
		"num_inverters", "num_heat_pumps", "num_electric_vehicles", "num_wallboxes",
	} {
		t.Run(name+" missing", func(t *testing.T) {
			u.answer(replyJSON(200, document(member{name, ``})))
			refused(t, "field "+name+" is missing")
		})
		t.Run(name+" null", func(t *testing.T) {
			u.answer(replyJSON(200, document(member{name, `null`})))
			refused(t, "field "+name)
		})
	}
	for _, contentType := range []string{"text/html", "text/plain; charset=utf-8", "application/jsonx", "", ";"} {
		t.Run("content type "+contentType, func(t *testing.T) {
			u.answer(reply(200, contentType, document()))
			refused(t, "content type")
		})
	}
	if log := s.log.String(); strings.Contains(log, "Peter") || strings.Contains(log, "Schmidt") || strings.Contains(log, externalID) {
		t.Error("a person's data is in the log")
	}
}

func TestADocumentOfExactlyOneMebibyteIsRead(t *testing.T) {
	empty := len(document(member{"tariff", `""`}))
	body := document(member{"tariff", `"` + strings.Repeat("x", 1<<20-empty) + `"`})
	s := start(t, newUpstream(t, replyJSON(200, body), nil), nil)
	if got := lookupREST(t.Context(), t, s, theUser(), nil); got.user == nil {
		t.Errorf("%s: %s", got.reason, got.message)
	}
}

func TestContentTypesOfJSON(t *testing.T) {
	for _, contentType := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"} {
		s := start(t, newUpstream(t, reply(200, contentType, document()), nil), nil)
		if got := lookupREST(t.Context(), t, s, theUser(), nil); got.user == nil {
			t.Errorf("%s: %s", contentType, got.message)
		}
	}
}
