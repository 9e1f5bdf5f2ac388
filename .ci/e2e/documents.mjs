// documents.mjs UPSTREAM REST GRPC ORGANIZATION COUNT: compares what the upstream has with what the service gives, field by
// field, for the cases of cases.mjs and COUNT made-up documents. It prints each difference, and how many users it saw.
import { isDeepStrictEqual } from 'node:util'
import grpc from '@grpc/grpc-js'
import { GrpcReflection } from 'grpc-js-reflection-client'
import { cases } from './cases.mjs'

const [, , upstream, rest, address, organization, count] = process.argv
const credentials = grpc.credentials.createInsecure()
const token = grpc.Metadata.fromHttp2Headers({ authorization: 'Bearer of-a-caller' })

const descriptor = await new GrpcReflection(address, credentials).getDescriptorBySymbol('podero.user.v1.UserService')
const api = descriptor.getPackageObject({ keepCase: true, enums: String, longs: Number, defaults: true }).podero.user.v1
const users = new api.UserService(address, credentials)

async function get(base, id) {
  const path = `/api/partners/v2.0/org/${organization}/users/by-ext-id/${encodeURIComponent(id)}`
  const answer = await fetch(base + path, { headers: { authorization: 'Bearer of-a-caller' }, signal: AbortSignal.timeout(60_000) })
  const body = await answer.text()
  if (answer.status !== 200) throw new Error(`${answer.status} ${body}`)
  return JSON.parse(body)
}

const call = (id) => new Promise((resolve, reject) => {
  const request = { org_id: organization, external_id: id }
  users.GetUserByExternalId(request, token, { deadline: Date.now() + 60_000 }, (error, answer) => error ? reject(error) : resolve(answer.user))
})

// instant gives a time as seconds and nanoseconds, whichever way it is written.
function instant(time) {
  if (typeof time !== 'string') return [time.seconds, time.nanos]
  const [, local, fraction = '', zone] = /^(.{19})(?:\.(\d+))?(.*)$/.exec(time)
  return [Date.parse(local + (zone || 'Z')) / 1000, Number(fraction.padEnd(9, '0'))]
}

// plain gives a field's value in one form, whether it comes from the upstream, from REST or from gRPC.
function plain(field, value = null) {
  if (value === null) return null
  if (field === 'role') return value.replace(/^ROLE_/, '').toLowerCase()
  if (field === 'last_login' || field === 'joined_at') return instant(value)
  if (field === 'zip_code' || field === 'external_user_id') return String(value)
  return value
}

const fields = api.User.type.field.map(({ name }) => name)
let seen = 0

async function compare(id) {
  const [document, json, user] = [await get(upstream, id), await get(rest, id), await call(id)]
  if (!isDeepStrictEqual(Object.keys(json), fields)) console.log(`${id}: REST has the keys ${Object.keys(json)}`)
  for (const field of fields) {
    const [want, ...got] = [document, json, user].map((values) => plain(field, values[field]))
    if (!got.every((value) => isDeepStrictEqual(value, want))) {
      console.log(`${id}: ${field} is ${JSON.stringify(want)}, over REST and gRPC ${JSON.stringify(got)}`)
    }
  }
  seen++
}

const ids = [...Object.keys(cases), ...Array.from({ length: count }, (_, i) => `made up ${i}`)].values()
const work = async () => {
  for (const id of ids) await compare(id).catch((error) => console.log(`${id}: ${error}`))
}
await Promise.all(Array.from({ length: 8 }, work))
console.log(`${fields.length} fields of ${seen} users`)
users.close()
