"""Looks up users with grpcio and the descriptor set."""

import json
import pathlib
import sys

import grpc
from google.protobuf import descriptor_pb2, message_factory

descriptors = pathlib.Path(__file__).parents[1] / "gen" / "podero-user-v1.binpb"
files = descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes()).file
types = message_factory.GetMessages(files)
Request = types["podero.user.v1.GetUserByExternalIdRequest"]
Response = types["podero.user.v1.GetUserByExternalIdResponse"]


def find(id, seconds):
    request = Request(org_id="016b78a7-0c7c-4241-a277-015c3ad3cb90", external_id=id)
    try:
        user = call(request, timeout=seconds).user
    except grpc.RpcError as error:
        return reason(error) or error.code().name
    return json.dumps(user.first_name if user.HasField("first_name") else None)


def reason(error):
    encoded = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    for detail in types["google.rpc.Status"].FromString(encoded).details:
        info = types["google.rpc.ErrorInfo"]()
        if detail.Unpack(info):
            return info.reason


with grpc.insecure_channel(sys.argv[1]) as channel:
    method = "/podero.user.v1.UserService/GetUserByExternalId"
    call = channel.unary_unary(method, Request.SerializeToString, Response.FromString)
    for id in "zero-not-null", "all-null", "nobody":
        print(id, find(id, 5))
    print("too late", find("all-null", -1))  # in the past, as grpcio rounds up
