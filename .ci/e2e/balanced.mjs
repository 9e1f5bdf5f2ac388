// Makes 40 lookups with a service config, as docs/clients.md shows: balanced.mjs CONFIG DESCRIPTORS TARGET ORG.
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import grpc from '@grpc/grpc-js'
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader'

const [config, descriptors, target, org] = process.argv.slice(2)
const { UserService } = grpc.loadPackageDefinition(
  loadFileDescriptorSetFromBuffer(readFileSync(descriptors), { keepCase: true }),
).podero.user.v1
const users = new UserService(target, grpc.credentials.createInsecure(), {
  'grpc.service_config': readFileSync(config, 'utf8'),
  'grpc.dns_min_time_between_resolutions_ms': 5000,
})
const find = promisify(users.GetUserByExternalId.bind(users))
for (let i = 0; i < 40; i++) await find({ org_id: org, external_id: 'all-null' })
users.close()
