package gateway

import (
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// fullUser is a user with every field set.
func fullUser() *userv1.User {
	return &userv1.User{
		Id: "3c90c3cc-0d44-4b50-8888-8dd25736052a", OrganizationId: "016b78a7-0c7c-4241-a277-015c3ad3cb90",
		Role: userv1.Role_ROLE_ADMIN, Email: "peter.schmidt@example.com",
		NumInverters: 1, NumHeatPumps: 2, NumElectricVehicles: 3, NumWallboxes: 4,
		ExternalUserId: proto.String("134681893870"), FirstName: proto.String("Peter"), LastName: proto.String("Schmidt"),
		IsOnboarded: proto.Bool(true), StreetAndNumber: proto.String("Platz der Republik 1"), StreetAddInfo: proto.String("Apt 4B"),
		ZipCode: proto.String("11011"), Town: proto.String("Berlin"), Country: proto.String("DEU"),
		Latitude: proto.Float64(52.5186), Longitude: proto.Float64(13.3762),
		LastLogin: timestamppb.New(time.Date(2023, 11, 7, 5, 31, 56, 0, time.UTC)),
		JoinedAt:  timestamppb.New(time.Date(2023, 7, 15, 19, 34, 29, 123e6, time.UTC)),
	}
}

// BenchmarkMarshal compares writing a user with protojson, which can't write the nulls.
func BenchmarkMarshal(b *testing.B) {
	user := fullUser()
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		m := &marshaler{}
		for b.Loop() {
			if _, err := m.Marshal(user); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("protojson", func(b *testing.B) {
		b.ReportAllocs()
		options := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}
		for b.Loop() {
			if _, err := options.Marshal(user); err != nil {
				b.Fatal(err)
			}
		}
	})
}
