// upstream.mjs PRISM: an upstream whose documents can be asked for again. Prism makes each of them up once, but for those of
// cases.mjs. It prints its URL once it listens.
import { createServer } from 'node:http'
import { cases } from './cases.mjs'

const [, , prism] = process.argv
const documents = new Map() // by external ID
const ask = async (path, headers) => (await fetch(prism + path, { headers })).text()
const server = createServer(async (request, response) => {
  const id = decodeURIComponent(request.url.split('/').pop())
  if (!documents.has(id)) documents.set(id, cases[id] ?? ask(request.url, { authorization: request.headers.authorization }))
  response.writeHead(200, { 'content-type': 'application/json' }).end(await documents.get(id))
})
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
