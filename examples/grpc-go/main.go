// Command grpc-go looks up users with this module's own package.
package main

import (
	"context"
	"encoding/json"
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
	for _, id := range []string{"zero-not-null", "all-null", "nobody"} {
		fmt.Println(id, find(conn, id, 5*time.Second))
	}
	fmt.Println("too late", find(conn, "all-null", 0))
}

func find(conn *grpc.ClientConn, id string, patience time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := userv1.NewUserServiceClient(conn).GetUserByExternalId(ctx,
		&userv1.GetUserByExternalIdRequest{OrgId: "016b78a7-0c7c-4241-a277-015c3ad3cb90", ExternalId: id})
	if err == nil {
		name, _ := json.Marshal(answer.User.FirstName) // a nil pointer is null
		return string(name)
	}
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return status.Code(err).String()
}
