"""Makes 40 lookups with a service config, as docs/clients.md shows: balanced.py CONFIG DESCRIPTORS TARGET ORG."""

import pathlib
import sys

import grpc
from google.protobuf import descriptor_pb2, message_factory

config, descriptors, target, org = sys.argv[1:]
files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(descriptors).read_bytes()).file
types = message_factory.GetMessages(files)
options = [
    ("grpc.service_config", pathlib.Path(config).read_text()),
    ("grpc.dns_min_time_between_resolutions_ms", 5000),
]
with grpc.insecure_channel(target, options=options) as channel:
    find = channel.unary_unary(
        "/podero.user.v1.UserService/GetUserByExternalId",
        types["podero.user.v1.GetUserByExternalIdRequest"].SerializeToString,
        types["podero.user.v1.GetUserByExternalIdResponse"].FromString,
    )
    for _ in range(40):
        find(types["podero.user.v1.GetUserByExternalIdRequest"](org_id=org, external_id="all-null"))
