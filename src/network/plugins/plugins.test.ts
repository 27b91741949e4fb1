import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Server } from 'node:net'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { hasty } from './client.ts'
import { findPlugin, type PluginFolders } from './discovery.ts'
import { Plugins } from './plugins.ts'

function openFolders(): PluginFolders {
  const base = mkdtempSync('/run/plugins-test-')
  const folders = { sockets: join(base, 'sock'), specs: [join(base, 'etc'), join(base, 'usr')] }
  for (const folder of [folders.sockets, ...folders.specs]) mkdirSync(folder)
  return folders
}

/** A server that answers as told; its address: a path, or a port of 127.0.0.1. */
async function serve(t: TestContext, server: Server, where: string | number): Promise<number> {
  t.after(() => server.close())
  const options = typeof where === 'string' ? { path: where } : { host: '127.0.0.1', port: where }
  await new Promise<void>((done) => server.listen(options, done))
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

const plugin: RequestListener = (request, response) => {
  assert.equal(request.headers.accept, 'application/vnd.docker.plugins.v1.2+json')
  assert.equal(request.method, 'POST')
  switch (request.url) {
    case '/Plugin.Activate':
      response.end('{"Implements":["NetworkDriver"]}')
      return
    case '/NetworkDriver.GetCapabilities':
      response.end('{"scope":"local"}')
      return
    case '/NetworkDriver.Say':
      response.end('{"color":"blue","Number":7,"Nothing":null,"List":[{"a":1}],"Wrong":7}')
      return
    case '/NetworkDriver.Huge':
      response.end(`{"Filler":"${'x'.repeat(2 << 20)}"}`)
      return
    case '/NetworkDriver.Slow':
      return // and never anything
    case '/NetworkDriver.Half':
      response.end('{"Err":"no"')
      return
    case '/NetworkDriver.Nothing':
      response.end()
      return
    case '/NetworkDriver.Odd':
      response.end('{"Err":["a"]}')
      return
    case '/NetworkDriver.Array':
      response.end('[]')
      return
    case '/NetworkDriver.Err':
      response.end('{"Err":"no more cables"}')
      return
    case '/NetworkDriver.Old':
      response.writeHead(500).end('plain words\n')
      return
    case '/NetworkDriver.Die':
      request.socket.destroy()
      return
    default:
      response.writeHead(404).end('404 page not found\n')
  }
}

test('plugins are found by socket, in a folder of their own, by address and by JSON', async (t) => {
  const folders = openFolders()
  const [etc = '', usr = ''] = folders.specs
  await serve(t, createServer(plugin), join(folders.sockets, 'one.sock'))
  mkdirSync(join(folders.sockets, 'two'))
  await serve(t, createServer(plugin), join(folders.sockets, 'two/two.sock'))
  writeFileSync(join(etc, 'three.spec'), 'tcp://192.0.2.1:99\n')
  writeFileSync(join(usr, 'four.json'), '{"Name":"four","Addr":"https://p:1","TLSConfig":{"CAFile":"/c"}}')
  writeFileSync(join(folders.sockets, 'five.sock'), 'no socket')
  writeFileSync(join(etc, 'six.spec'), 'nowhere')
  const found = (name: string) => findPlugin(name, folders)
  assert.equal(found('one')?.address, `unix://${folders.sockets}/one.sock`)
  assert.equal(found('two')?.address, `unix://${folders.sockets}/two/two.sock`)
  assert.equal(found('three')?.address, 'tcp://192.0.2.1:99')
  const tls = { insecureSkipVerify: false, caFile: '/c', certFile: '', keyFile: '' }
  assert.deepEqual(found('four'), { address: 'https://p:1', tls })
  for (const name of ['five', 'seven', '../sock/one', 'two/two', '']) {
    assert.equal(found(name), undefined, name)
  }
  assert.throws(() => found('six'), /no usable address "nowhere"/)
})

test('a plugin says what went wrong in its own words', async (t) => {
  const folders = openFolders()
  const plugins = new Plugins(folders)
  await serve(t, createServer(plugin), join(folders.sockets, 'fabric.sock'))
  const call = (method: string) => plugins.call('fabric', 'NetworkDriver', method)
  await call('Say')
  assert.deepEqual(plugins.networkNames, ['fabric'])
  await assert.rejects(call('Err'), { message: 'remote: no more cables' })
  await assert.rejects(call('Old'), { message: 'NetworkDriver.Old: plain words' })
  await assert.rejects(call('None'), { kind: 'internal', status: 404 })
  const url = 'http://plugin.moby.localhost/NetworkDriver.Die'
  await assert.rejects(call('Die'), { name: 'PluginSilent', message: `Post "${url}": EOF` })
  const wrong = /does not implement the requested driver: plugin="fabric".*"IpamDriver"/
  await assert.rejects(plugins.ipamDriver('fabric'), wrong)
  const missing = { kind: 'notFound', message: 'plugin "nosuch" not found' }
  await assert.rejects(plugins.networkDriver('nosuch'), missing)
})

test('answers are read as Go reads them, and refused as Go refuses them', async (t) => {
  const folders = openFolders()
  const plugins = new Plugins(folders)
  await serve(t, createServer(plugin), join(folders.sockets, 'fabric.sock'))
  const call = (method: string) => plugins.call('fabric', 'NetworkDriver', method)
  const said = await call('Say')
  assert.equal(said.text('Color'), 'blue')
  assert.equal(said.text('Nothing'), '')
  assert.equal(said.whole('number'), 7)
  assert.equal(said.flag('absent'), false)
  assert.equal(said.part('absent', 'api.X'), undefined)
  assert.equal(said.parts('List', 'api.X')[0]?.whole('a'), 1)
  const sentence = 'json: cannot unmarshal number into Go struct field SayResponse.Wrong of type string'
  assert.throws(() => said.text('Wrong'), { message: sentence })
  const refusals: readonly (readonly [method: string, message: string | RegExp])[] = [
    ['Half', 'unexpected EOF'],
    ['Nothing', 'EOF'],
    ['Odd', 'json: cannot unmarshal array into Go struct field OddResponse.Response.Err of type string'],
    ['Array', 'json: cannot unmarshal array into Go value of type api.ArrayResponse'],
    ['Huge', /the answer is longer than 1048576 bytes/],
  ]
  for (const [method, message] of refusals) await assert.rejects(call(method), { message }, method)
})

test('a plugin that does not answer is waited for within a bound, and no longer after that', async (t) => {
  const folders = openFolders()
  const plugins = new Plugins(folders)
  await serve(t, createServer(plugin), join(folders.sockets, 'fabric.sock'))
  const url = 'http://plugin.moby.localhost/NetworkDriver.Slow'
  const slow = plugins.call('fabric', 'NetworkDriver', 'Slow', {}, { pausesMs: [], answerMs: 100 })
  await assert.rejects(slow, { name: 'PluginSilent', message: `Post "${url}": no answer in 0.1 s` })
  await plugins.call('fabric', 'NetworkDriver', 'Say', {}, hasty)
})

test('a plugin that comes somewhat later is waited for; one that never does is not, for long', async (t) => {
  const folders = openFolders()
  const [etc = ''] = folders.specs
  const plugins = new Plugins(folders)
  const server = createServer(plugin)
  const port = await serve(t, server, 0)
  await new Promise((done) => server.close(done))
  writeFileSync(join(etc, 'late.spec'), `tcp://127.0.0.1:${port}`)
  const waiting = plugins.networkDriver('late')
  await serve(t, createServer(plugin), port)
  assert.equal((await waiting).scope, 'local')
  const nowhere = plugins.call('nowhere', 'NetworkDriver', 'Say')
  writeFileSync(join(etc, 'nowhere.spec'), `tcp://127.0.0.1:${port}`)
  await nowhere
  writeFileSync(join(etc, 'never.spec'), 'unix:///run/nobody.sock')
  const refused = plugins.call('never', 'NetworkDriver', 'Leave', {}, hasty)
  const why = 'dial unix /run/nobody.sock: connect: no such file or directory'
  const url = 'http://plugin.moby.localhost/Plugin.Activate'
  await assert.rejects(refused, { message: `legacy plugin: Post "${url}": ${why}` })
})

test('a plugin behind TLS is trusted by its certificate, or without an authority by its address', async (t) => {
  const folders = openFolders()
  const [etc = ''] = folders.specs
  const [key, cert] = [join(etc, 'key.pem'), join(etc, 'cert.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
  const made = ['-x509', '-nodes', '-newkey', 'rsa:2048', '-keyout', key, '-out', cert, '-days', '2']
  execFileSync('openssl', ['req', ...made, ...subject], { stdio: 'pipe' })
  const files = { key: readFileSync(key), cert: readFileSync(cert) }
  const port = await serve(t, createTlsServer(files, plugin), 0)
  const address = `https://localhost:${port}`
  const spec = (name: string, tls: unknown) =>
    writeFileSync(join(etc, `${name}.json`), JSON.stringify({ Name: name, Addr: address, TLSConfig: tls }))
  spec('known', { CAFile: cert })
  spec('unknown', undefined)
  spec('empty', {})
  writeFileSync(join(etc, 'plain.spec'), address)
  const plugins = new Plugins(folders)
  for (const name of ['known', 'empty', 'plain']) await plugins.networkDriver(name)
  await assert.rejects(plugins.networkDriver('unknown'), /certificate/)
})
