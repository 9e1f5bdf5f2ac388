// Looks up users with fetch.
const users = `${process.argv[2]}/api/partners/v2.0/org/016b78a7-0c7c-4241-a277-015c3ad3cb90/users/by-ext-id`

async function find(id, deadline) {
  const answer = await fetch(`${users}/${encodeURIComponent(id)}`, {
    headers: { 'grpc-timeout': deadline }, // as in gRPC: the service gives up then
    signal: AbortSignal.timeout(10_000), // if the service itself can't be reached
  })
  const body = await answer.json()
  return answer.ok ? JSON.stringify(body.first_name) : body.reason
}

for (const id of ['zero-not-null', 'all-null', 'nobody']) console.log(id, await find(id, '5S'))
console.log('too late', await find('all-null', '1n'))
