package podero

import (
	"encoding/json"
	"os"
	"testing"
	"time"
)

func sandboxDocument(t testing.TB) []byte {
	document, err := os.ReadFile("../sandbox/users/134681893870.json")
	if err != nil {
		t.Fatal(err)
	}
	return document
}

// BenchmarkDocument compares mapping a document with decoding it into structs by encoding/json, which takes
// duplicate keys, broken text and missing fields.
func BenchmarkDocument(b *testing.B) {
	document := sandboxDocument(b)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		drift := quietDrift()
		for b.Loop() {
			if _, err := readUser(document, drift); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding_json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := json.Unmarshal(document, new(plainUser)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// plainUser is a document as encoding/json reads it.
type plainUser struct {
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
