// Documents as an upstream may write them, and the contract allows.
import { readFileSync } from 'node:fs'

const complete = JSON.parse(readFileSync(new URL('../../server/sandbox/users/134681893870.json', import.meta.url)))
const nullable = Object.keys(complete).slice(8)

// Each case is the complete document with some fields replaced, by what the text says; by nothing, where it is empty.
const changes = [
  {},
  ...nullable.flatMap((field) => [{ [field]: 'null' }, { [field]: '' }]),
  Object.fromEntries(nullable.map((field) => [field, 'null'])),
  Object.fromEntries(nullable.map((field) => [field, ''])),
  ...nullable.filter((field) => typeof complete[field] === 'string' && !/_(login|at)$/.test(field)).map((field) => ({ [field]: '""' })),
  ...['admin', 'staff', 'user', 'guest'].map((role) => ({ role: `"${role}"` })),
  ...['0', '-7', '3.0', '1e2', '300e-2', '2147483647', '-2147483648'].map((number) => ({ num_wallboxes: number })),
  ...['0', '52', '-89.999999999999999', '1e-7', '5e-324', '1.7976931348623157e308'].map((latitude) => ({ latitude })),
  ...['"\\"\\\\/\\b\\f\\n\\r\\t"', '"\\ud83d\\ude00 Zoë"', '"<script>&\\u2028"', '"null"'].map((first_name) => ({ first_name })),
  ...['Z', '', '.1Z', '.123456', '.123456789Z', '+02:00', '.000000001-23:59'].map((rest) => ({ last_login: `"2023-11-07T05:31:56${rest}"` })),
  ...['0001-01-01T00:00:00', '1970-01-01T00:00:00', '9999-12-31T23:59:59'].map((time) => ({ joined_at: `"${time}Z"` })),
  { email: '""' }, { is_onboarded: 'false' }, { unknown_to_all: '{"a": [1e400]}' },
  { zip_code: '1e4' }, { zip_code: '-5' }, { external_user_id: '134681893870.0' },
]

function text(change) {
  const members = { ...Object.fromEntries(Object.entries(complete).map(([name, value]) => [name, JSON.stringify(value)])), ...change }
  return `{${Object.entries(members).filter(([, value]) => value).map(([name, value]) => `"${name}": ${value}`).join(', ')}}`
}

// The documents, by external ID.
export const cases = Object.fromEntries(changes.map((change, i) => [`case ${i}`, text(change)]))
cases['not as documented'] = text({ zip_code: '1067' }) // in OpenAPI; what the service makes of it is
