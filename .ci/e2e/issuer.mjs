// issuer.mjs: an authorization server whose tokens have the client's ID for a subject. It prints its URL once it listens; on
// SIGHUP it starts again there with other keys, and prints its URL again.
import { OAuth2Server } from 'oauth2-mock-server'

const generations = [['RS256', 'PS256', 'ES256'], ['EdDSA', 'ES384', 'RS512']].values()
let server, port

async function renew() {
  await server?.stop()
  server = new OAuth2Server()
  for (const algorithm of generations.next().value) await server.issuer.keys.generate(algorithm)
  server.service.on('beforeTokenSigning', ({ payload }, request) => {
    payload.sub = request.body.client_id
  })
  await server.start(port, '127.0.0.1')
  port = server.address().port
  console.log(server.issuer.url)
}

process.on('SIGHUP', renew)
await renew()
