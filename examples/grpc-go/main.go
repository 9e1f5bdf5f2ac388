// Command grpc-go looks up users with this module's own package.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

func main() {
	conn, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	users := userv1.NewUserServiceClient(conn)
	for _, id := range []string{"zero-not-null", "all-null", "nobody"} {
		fmt.Println(id, find(users, id, 5*time.Second))
	}
	fmt.Println("too late", find(users, "all-null", 0))
}

func find(users userv1.UserServiceClient, id string, timeout time.Duration) any {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	request := &userv1.GetUserByExternalIdRequest{OrgId: "016b78a7-0c7c-4241-a277-015c3ad3cb90", ExternalId: id}
	answer, err := users.GetUserByExternalId(ctx, request)
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	if err != nil {
		return status.Code(err)
	}
	if answer.User.FirstName == nil {
		return "null"
	}
	return fmt.Sprintf("%q", answer.User.GetFirstName())
}
