package userv1_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

// A customer is looked up, then one whom nobody knows. TLS is left out, as everything here is on one machine.
func Example() {
	address, stop := serve()
	defer stop()

	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close() }()
	users := userv1.NewUserServiceClient(conn)

	for _, externalID := range []string{"4711", "nobody"} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		answer, err := users.GetUserByExternalId(ctx, &userv1.GetUserByExternalIdRequest{
			OrgId:      "016b78a7-0c7c-4241-a277-015c3ad3cb90",
			ExternalId: externalID,
		})
		cancel()
		if err != nil {
			fmt.Println(status.Code(err), reason(err))
			continue
		}
		user := answer.GetUser()
		fmt.Println(user.GetEmail(), user.GetRole())
		if user.FirstName == nil {
			fmt.Println("the first name is null")
		}
		if user.StreetAddInfo != nil {
			fmt.Printf("the addition to the street is %q\n", user.GetStreetAddInfo())
		}
	}
	// Output:
	// guest@example.com ROLE_GUEST
	// the first name is null
	// the addition to the street is ""
	// NotFound USER_NOT_FOUND
}

// reason returns why a call failed, for programs to decide upon.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// directory stands in for the service. It knows one user.
type directory struct {
	userv1.UnimplementedUserServiceServer
}

func (directory) GetUserByExternalId(
	_ context.Context, request *userv1.GetUserByExternalIdRequest,
) (*userv1.GetUserByExternalIdResponse, error) {
	if request.GetExternalId() == "4711" {
		none := ""
		user := &userv1.User{Email: "guest@example.com", Role: userv1.Role_ROLE_GUEST, StreetAddInfo: &none}
		return &userv1.GetUserByExternalIdResponse{User: user}, nil
	}
	failure := status.New(codes.NotFound, "no such user")
	failure, err := failure.WithDetails(&errdetails.ErrorInfo{Domain: "podero-facade", Reason: "USER_NOT_FOUND"})
	if err != nil {
		return nil, err
	}
	return nil, failure.Err()
}

// serve starts the stand-in on loopback.
func serve() (address string, stop func()) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	userv1.RegisterUserServiceServer(server, directory{})
	go func() { _ = server.Serve(listener) }()
	return listener.Addr().String(), server.Stop
}
