"""rpc.py DESCRIPTORS ADDRESS ORG_ID EXTERNAL_ID: looks up a user as a client that has only the descriptor set
does, and prints the user as our REST API would, with null for each field that is unset."""

import json
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

descriptors, address, org_id, external_id = sys.argv[1:]
with open(descriptors, "rb") as file:
    files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
pool = descriptor_pool.DescriptorPool()
for file in files.file:
    pool.Add(file)
method = pool.FindServiceByName("podero.user.v1.UserService").methods_by_name["GetUserByExternalId"]
factory = message_factory.MessageFactory(pool)
request = factory.GetPrototype(method.input_type)
response = factory.GetPrototype(method.output_type)


def value(user, field):
    if field.has_presence and not user.HasField(field.name):
        return None
    found = getattr(user, field.name)
    if field.enum_type:
        return field.enum_type.values_by_number[found].name.removeprefix("ROLE_").lower()
    return found.ToJsonString() if field.message_type else found


with grpc.insecure_channel(address) as channel:
    call = channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    user = call(request(org_id=org_id, external_id=external_id), timeout=10).user
print(json.dumps({field.name: value(user, field) for field in user.DESCRIPTOR.fields}))
