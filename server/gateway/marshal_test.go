package gateway

import (
	"math"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

func TestMarshal(t *testing.T) {
	for name, c := range map[string]struct {
		message proto.Message
		want    string
	}{
		"a list of texts":                       {&errdetails.DebugInfo{StackEntries: []string{"a", `"`}}, `{"stack_entries":["a","\""],"detail":""}`},
		"text to escape, and text beyond ASCII": {wrapperspb.String("a\"\\\n\x7fé"), "{\"value\":\"a\\\"\\\\\\n\x7fé\"}"},
		"an enum": {&userv1.User{Role: userv1.Role_ROLE_ADMIN}, `{"id":"","organization_id":"","role":"admin","email":"",` +
			`"num_inverters":0,"num_heat_pumps":0,"num_electric_vehicles":0,"num_wallboxes":0,"external_user_id":null,"first_name":null,` +
			`"last_name":null,"is_onboarded":null,"street_and_number":null,"street_add_info":null,"zip_code":null,"town":null,` +
			`"country":null,"latitude":null,"longitude":null,"last_login":null,"joined_at":null}`},
		"a list of messages": {&errdetails.QuotaFailure{Violations: []*errdetails.QuotaFailure_Violation{}},
			`{"violations":[]}`},
		"a message that is not set":  {&errdetails.RetryInfo{}, `{"retry_delay":null}`},
		"a message inside a message": {&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)}, `{"retry_delay":{"seconds":1,"nanos":0}}`},
		"an integer beyond a double": {wrapperspb.Int64(math.MaxInt64), `{"value":9223372036854775807}`},
		"an unsigned integer":        {wrapperspb.UInt64(math.MaxUint64), `{"value":18446744073709551615}`},
		"truth":                      {&userv1.GetUserByExternalIdRequest{OrgId: "o", IncludeDeleted: true}, `{"org_id":"o","external_id":"","include_deleted":true}`},
		"one of several": {&structpb.Value{Kind: &structpb.Value_StringValue{StringValue: "x"}},
			`{"null_value":null,"number_value":null,"string_value":"x","bool_value":null,"struct_value":null,"list_value":null}`},
		"a number without a fraction": {wrapperspb.Double(-0.5e21), `{"value":-500000000000000000000}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := (&marshaler{}).Marshal(c.message)
			if err != nil || string(got) != c.want {
				t.Errorf("%s, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestMarshalRefusesWhatHasNoForm(t *testing.T) {
	for name, value := range map[string]any{
		"infinity":                  wrapperspb.Double(math.Inf(1)),
		"not a number":              wrapperspb.Double(math.NaN()),
		"bytes":                     wrapperspb.Bytes([]byte("x")),
		"a map":                     &errdetails.ErrorInfo{Metadata: map[string]string{"a": "b"}},
		"text that is not UTF-8":    wrapperspb.String("\xff"),
		"an enum's unknown value":   &userv1.User{Role: 99},
		"what is no message at all": "text",
		"inside a list":             &structpb.ListValue{Values: []*structpb.Value{structpb.NewNumberValue(math.NaN())}},
		"inside a message":          &userv1.GetUserByExternalIdResponse{User: &userv1.User{Id: "\xff"}},
	} {
		if got, err := (&marshaler{}).Marshal(value); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestShareKeepsWhatIsSet(t *testing.T) {
	from := &userv1.User{Id: "i", FirstName: proto.String(""), Latitude: proto.Float64(0), JoinedAt: timestamppb.New(time.Unix(0, 0))}
	to := &userv1.User{}
	if err := share(to, from); err != nil || !proto.Equal(from, to) {
		t.Errorf("%v, %v", to, err)
	}
	if share("x", from) == nil || share(to, "x") == nil {
		t.Error("something that is no message was shared")
	}
}

func TestAnAnswerTakesOneAllocation(t *testing.T) {
	m, user := &marshaler{}, fullUser()
	got := testing.AllocsPerRun(1000, func() {
		if _, err := m.Marshal(user); err != nil {
			t.Fatal(err)
		}
	})
	if got > 1 { // the bytes
		t.Errorf("%v allocations", got)
	}
}
