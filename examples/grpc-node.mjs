// Looks up users with @grpc/grpc-js and the descriptor set.
import { readFileSync } from 'node:fs'
import grpc from '@grpc/grpc-js'
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader'

// With defaults, a field that is missing all the same is null.
const types = loadFileDescriptorSetFromBuffer(
  readFileSync(new URL('../gen/podero-user-v1.binpb', import.meta.url)),
  { keepCase: true, enums: String, defaults: true },
)
const { UserService } = grpc.loadPackageDefinition(types).podero.user.v1
const users = new UserService(process.argv[2], grpc.credentials.createInsecure())

const find = (id, milliseconds) => new Promise((resolve) => {
  const request = { org_id: '016b78a7-0c7c-4241-a277-015c3ad3cb90', external_id: id }
  users.GetUserByExternalId(request, { deadline: Date.now() + milliseconds }, (error, answer) => {
    if (error) resolve(reason(error) ?? grpc.status[error.code])
    else resolve(JSON.stringify(answer.user.first_name ?? null))
  })
})

function reason(error) {
  const [encoded] = error.metadata.get('grpc-status-details-bin')
  const details = encoded ? types['google.rpc.Status'].deserialize(encoded).details : []
  const info = details.find(({ type_url }) => type_url.endsWith('/google.rpc.ErrorInfo'))
  return info && types['google.rpc.ErrorInfo'].deserialize(info.value).reason
}

for (const id of ['zero-not-null', 'all-null', 'nobody']) console.log(id, await find(id, 5000))
console.log('too late', await find('all-null', 0))
users.close()
