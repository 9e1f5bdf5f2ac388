package main

import (
	"bytes"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// Where things are at the upstream.
const (
	orgID       = "016b78a7-0c7c-4241-a277-015c3ad3cb90"
	apiPath     = "/api/partners/v2.0"
	usersPath   = apiPath + "/org/" + orgID + "/users/by-ext-id/"
	tokenPath   = "/oauth2/token/" //nolint:gosec // a path
	protojson   = "/protojson"     // before the API's path: documents in protobuf's JSON mapping
	delayPath   = "/delay"         // its query is how long the API takes from now on
	callsPath   = "/calls"         // how many lookups there were
	accessToken = "bench"
	constantID  = "134681893870" // of the user that constant peers answer with
)

// document is the upstream's answer about any user: all that is in it but external_user_id is the same.
const document = `{"id": "3c90c3cc-0d44-4b50-8888-8dd25736052a", "organization_id": "` + orgID + `", "role": "admin", ` +
	`"email": "peter.schmidt@example.com", "num_inverters": 1, "num_heat_pumps": 2, "num_electric_vehicles": 3, "num_wallboxes": 4, ` +
	`"external_user_id": "` + constantID + `", "first_name": "Peter", "last_name": "Schmidt", "is_onboarded": true, ` +
	`"street_and_number": "Platz der Republik 1", "street_add_info": "Apt 4B", "zip_code": "11011", "town": "Berlin", "country": "DEU", ` +
	`"latitude": 52.5186, "longitude": 13.3762, "last_login": "2023-11-07T05:31:56Z", "joined_at": "2023-07-15T19:34:29.123Z"}`

// newUser returns the user of the document.
func newUser() *userv1.User {
	return &userv1.User{
		Id: "3c90c3cc-0d44-4b50-8888-8dd25736052a", OrganizationId: orgID, Role: userv1.Role_ROLE_ADMIN,
		Email: "peter.schmidt@example.com", NumInverters: 1, NumHeatPumps: 2, NumElectricVehicles: 3, NumWallboxes: 4,
		ExternalUserId: proto.String(constantID), FirstName: proto.String("Peter"), LastName: proto.String("Schmidt"),
		IsOnboarded: proto.Bool(true), StreetAndNumber: proto.String("Platz der Republik 1"), StreetAddInfo: proto.String("Apt 4B"),
		ZipCode: proto.String("11011"), Town: proto.String("Berlin"), Country: proto.String("DEU"),
		Latitude: proto.Float64(52.5186), Longitude: proto.Float64(13.3762),
		LastLogin: timestamppb.New(time.Date(2023, 11, 7, 5, 31, 56, 0, time.UTC)),
		JoinedAt:  timestamppb.New(time.Date(2023, 7, 15, 19, 34, 29, 123e6, time.UTC)),
	}
}

// upstream is Podero's API and its token endpoint, as fast and as cheap as they get in Go.
type upstream struct {
	delay atomic.Int64 // in nanoseconds
	calls atomic.Int64
}

func serveUpstream(listener net.Listener, _ string) error {
	server := fasthttp.Server{Handler: (&upstream{}).answer, NoDefaultServerHeader: true, NoDefaultDate: true}
	return server.Serve(listener)
}

// Documents around the external ID.
var (
	beforeID, afterID, _ = strings.Cut(document, constantID)
	beforeIDProto        = strings.Replace(beforeID, `"admin"`, `"ROLE_ADMIN"`, 1)
)

func (u *upstream) answer(c *fasthttp.RequestCtx) {
	path := c.Path()
	c.SetContentType("application/json")
	before := beforeID
	if rest, ok := bytes.CutPrefix(path, []byte(protojson)); ok {
		path, before = rest, beforeIDProto
	}
	if id, ok := bytes.CutPrefix(path, []byte(usersPath)); ok {
		u.calls.Add(1)
		if string(c.Request.Header.Peek("Authorization")) != "Bearer "+accessToken {
			c.SetStatusCode(fasthttp.StatusUnauthorized)
			return
		}
		if delay := u.delay.Load(); delay > 0 {
			time.Sleep(time.Duration(delay))
		}
		c.Response.AppendBodyString(before)
		c.Response.AppendBody(id)
		c.Response.AppendBodyString(afterID)
		return
	}
	switch string(path) {
	case tokenPath:
		c.Response.AppendBodyString(`{"access_token": "` + accessToken + `", "expires_in": 36000, "token_type": "Bearer"}`)
	case callsPath:
		c.Response.SetBody(fasthttp.AppendUint(nil, int(u.calls.Load())))
	case delayPath:
		delay, err := time.ParseDuration(string(c.URI().QueryString()))
		if err != nil {
			c.SetStatusCode(fasthttp.StatusBadRequest)
		}
		u.delay.Store(int64(delay))
	default:
		c.SetStatusCode(fasthttp.StatusNotFound)
	}
}
