package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// callTimeout is the deadline of calls, as callers should set one.
const callTimeout = 10 * time.Second

// A caller looks a user up and verifies the answer. It belongs to one goroutine.
type caller func(ctx context.Context, id string) error

// newGRPCCallers returns callers that share some connections.
func newGRPCCallers(address string, callers, connections int, constant bool) ([]caller, error) {
	clients := make([]userv1.UserServiceClient, connections)
	for i := range clients {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		clients[i] = userv1.NewUserServiceClient(conn)
	}
	all := make([]caller, callers)
	for i := range all {
		all[i] = grpcCaller(clients[i%connections], constant)
	}
	return all, nil
}

func grpcCaller(client userv1.UserServiceClient, constant bool) caller {
	want := newUser()
	return func(ctx context.Context, id string) error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		response, err := client.GetUserByExternalId(ctx, &userv1.GetUserByExternalIdRequest{OrgId: orgID, ExternalId: id})
		if err != nil {
			return err
		}
		if !constant {
			want.ExternalUserId = &id
		}
		if !proto.Equal(response.GetUser(), want) {
			return fmt.Errorf("the answer about %s is of another user: %v", id, response.GetUser())
		}
		return nil
	}
}

// newRESTCallers returns callers with a connection each.
func newRESTCallers(address string, callers int, constant bool) []caller {
	client := &fasthttp.HostClient{
		Addr: address, MaxConns: callers, ReadTimeout: callTimeout, WriteTimeout: callTimeout,
		NoDefaultUserAgentHeader: true, DisablePathNormalizing: true,
	}
	known := &template{}
	all := make([]caller, callers)
	for i := range all {
		all[i] = restCaller(client, address, known, constant)
	}
	return all
}

func restCaller(client *fasthttp.HostClient, address string, known *template, constant bool) caller {
	var request fasthttp.Request
	var response fasthttp.Response
	request.Header.Set("Authorization", "Bearer "+accessToken) // for the upstream, when it is called directly
	return func(_ context.Context, id string) error {
		request.SetRequestURI("http://" + address + usersPath + id)
		if err := client.Do(&request, &response); err != nil {
			return err
		}
		if response.StatusCode() != fasthttp.StatusOK {
			return fmt.Errorf("status %d about %s: %s", response.StatusCode(), id, response.Body())
		}
		if constant {
			id = constantID
		}
		return known.verify(response.Body(), id)
	}
}

// template is what all answers of a server have in common: the bytes before and after the external ID. The first
// answer is read and compared with the user; the others are compared with the first.
type template struct{ known atomic.Pointer[[2][]byte] }

func (t *template) verify(body []byte, id string) error {
	if known := t.known.Load(); known != nil {
		inner, ok := bytes.CutPrefix(body, known[0])
		if ok {
			inner, ok = bytes.CutSuffix(inner, known[1])
		}
		if !ok || string(inner) != id {
			return fmt.Errorf("the answer about %s is of another user: %s", id, body)
		}
		return nil
	}
	got, err := normalize(body)
	if err != nil {
		return err
	}
	want, err := normalize([]byte(strings.Replace(document, constantID, id, 1)))
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("the answer about %s is of another user: %s", id, body)
	}
	before, after, _ := bytes.Cut(bytes.Clone(body), []byte(id))
	t.known.Store(&[2][]byte{before, after})
	return nil
}

// normalize reads a user in Podero's JSON or in protobuf's JSON mapping, so that both are the same.
func normalize(body []byte) (map[string]any, error) {
	var members map[string]any
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, err
	}
	user := map[string]any{}
	for name, value := range maps.All(members) {
		name = strings.ToLower(strings.ReplaceAll(name, "_", ""))
		text, _ := value.(string)
		if name == "role" {
			value = strings.ToLower(strings.TrimPrefix(text, "ROLE_"))
		}
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			value = at.UTC()
		}
		user[name] = value
	}
	return user, nil
}
