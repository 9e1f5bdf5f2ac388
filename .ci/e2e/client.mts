// client.mjs BASE_URL TOKEN: a client of the upstream, with the types that openapi-typescript made of its OpenAPI document.
// It prints what it sees of some customers.
import createClient from 'openapi-fetch'
import type { paths } from './upstream.js'

const [, , baseUrl, token] = process.argv
const client = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${token}` } })

for (const external_id of ['134681893870', 'all-null', 'zero-not-null', 'a/b c%é', 'deleted', 'nobody']) {
  for (const include_deleted of [false, true]) {
    const { data, response } = await client.GET('/api/partners/v2.0/org/{org_id}/users/by-ext-id/{external_id}', {
      params: { path: { org_id: '016b78a7-0c7c-4241-a277-015c3ad3cb90', external_id }, query: { include_deleted } },
    })
    console.log(external_id, include_deleted, response.status)
    if (data) {
      const since = data.joined_at ? new Date(data.joined_at).toISOString() : null
      console.log(data.role, data.first_name ?? null, data.num_wallboxes + 1, data.latitude ?? null, data.is_onboarded ?? null, since)
    }
  }
}
