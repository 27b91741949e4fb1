/** HTTP itself: methods, paths, versions, content types, malformed bodies, headers of answers. */
import type { Answer } from '../lab/lab.ts'
import type { Panel } from './panel.ts'

const paths = [
  '/_ping', '/version', '/info', '/events', '/system/df', '/auth', '/session', '/build', '/build/prune', '/commit', '/distribution/busybox/json',
  '/containers', '/containers/', '/containers/json', '/containers/create', '/containers/prune', '/containers/nope', '/containers/nope/json', '/containers/nope/top',
  '/containers/nope/logs', '/containers/nope/changes', '/containers/nope/export', '/containers/nope/stats', '/containers/nope/attach', '/containers/nope/attach/ws',
  '/containers/nope/start', '/containers/nope/stop', '/containers/nope/kill', '/containers/nope/restart', '/containers/nope/pause', '/containers/nope/unpause',
  '/containers/nope/wait', '/containers/nope/resize', '/containers/nope/rename', '/containers/nope/update', '/containers/nope/archive', '/containers/nope/exec',
  '/containers/nope/copy', '/containers/nope/checkpoints', '/containers/nope/zz', '/exec/nope/start', '/exec/nope/resize', '/exec/nope/json', '/exec/nope',
  '/images', '/images/json', '/images/create', '/images/load', '/images/search', '/images/get', '/images/prune', '/images/nope', '/images/nope/json',
  '/images/nope/history', '/images/nope/push', '/images/nope/tag', '/images/nope/get', '/images/a/b/c/json', '/volumes', '/volumes/create', '/volumes/prune',
  '/volumes/nope', '/volumes/', '/networks', '/networks/', '/networks/create', '/networks/prune', '/networks/nope', '/networks/nope/connect', '/networks/nope/disconnect',
  '/networks/nope/zz', '/plugins', '/plugins/privileges', '/plugins/pull', '/plugins/nope/json', '/plugins/nope', '/swarm', '/swarm/init', '/swarm/join', '/swarm/leave',
  '/swarm/update', '/swarm/unlock', '/swarm/unlockkey', '/services', '/services/create', '/services/nope', '/tasks', '/tasks/nope', '/nodes', '/nodes/nope', '/secrets',
  '/secrets/create', '/secrets/nope', '/configs', '/configs/create', '/configs/nope', '/zz', '/', '//', '/containers//json', '/networks//connect', '/containers/../info', '/%zz',
  '/containers/%2e%2e/json', '/containers/a%2fb/json', '/images/a%2fb/json', '/networks/a%2fb',
]
const methods = ['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'TRACE']
/** What would stream for ever, or change what later questions see. */
const leftOut = /^(GET|HEAD|OPTIONS|TRACE) \/events|HEAD \/%zz|POST \/(containers|images|volumes|networks|build)\/prune|POST \/(swarm\/(init|join)|plugins\/pull|images\/create|build|session)/

const posts = ['/containers/create', '/networks/create', '/volumes/create', '/networks/hnet/connect', '/networks/hnet/disconnect', '/containers/http/exec', '/containers/http/update',
  '/exec/nope/start', '/commit?container=nope', '/containers/http/start', '/containers/http/kill', '/containers/http/resize?h=1&w=1']
const bodies = ['', '{', '}', '[]', '5', 'null', 'true', '"x"', '{}', '{}{}', '{} x', '{"a":}', '{"a" 1}', '{a:1}', "{'a':1}", '{"Name":1}', '{"name":"hx"}', '\ufeff{}', '{"a":"\u0001"}',
  '{"a":"\\q"}', '{"a":01}', '{"a":1e999}', '{"Name":"a","Name":"b"}', '[[[[[[]]]]]]', '{"Labels":[1]}', '{"Container":5}', '{"Cmd":5}', 'nul', 'tru', '-', '"', '{"a":"', '{"a":1,}', '[1,]']
const types: readonly (string | undefined)[] = [undefined, '', 'application/json', 'application/json; charset=utf-8', 'APPLICATION/JSON', 'text/json', 'text/plain', 'application/x-www-form-urlencoded',
  'application/json;', 'application', '/', 'application/json; =', 'application/x-tar']
const versions = ['/v1.50', '/v1.51', '/v1.52', '/v1.24', '/v1.23', '/v1.0', '/v2.0', '/v1', '/v', '/v1.51.1', '/vx.y', '/V1.50', '/1.50', '/v01.50', '/v1.050', '/v1.99', '']

export async function httpTopic(panel: Panel): Promise<void> {
  await panel.do('POST', '/networks/create', { Name: 'hnet', IPAM: { Config: [{ Subnet: '10.82.0.0/16' }] } })
  await panel.ask('create http', 'POST', '/containers/create?name=http', { Image: 'busybox', Cmd: ['sleep', '600'] }, { keep: 'http' })
  await panel.ask('inspect hnet', 'GET', '/networks/hnet', undefined, { keep: 'hnet' })
  const crossed = paths.flatMap((path) => methods.map((method) => [method, path] as const))
    .filter(([method, path]) => !leftOut.test(`${method} ${path}`))
  for (const [method, path] of crossed) {
    await panel.ask(`http ${method} ${path}`, method, path, undefined, { pick: outline })
  }
  await panel.ask('http ZZ /_ping', 'ZZ', '/_ping', undefined, { pick: outline })
  const sent = posts.flatMap((path) => bodies.map((body) => [path, body] as const))
  for (const [path, body] of sent) await post(panel, path, body, { 'Content-Type': 'application/json' })
  for (const type of types) {
    for (const path of posts.slice(0, 8)) await post(panel, path, '{}', type === undefined ? {} : { 'Content-Type': type })
  }
  for (const version of versions) {
    for (const path of ['/_ping', '/version', '/containers/json', '/networks/nope', '/zz']) {
      await panel.ask(`version ${version}${path}`, 'GET', `${version}${path}`, undefined, { bare: true, pick: outline })
    }
  }
  for (const path of ['/_ping', '/version', '/info', '/containers/json', '/networks', '/networks/nope', '/containers/http/json', '/volumes', '/images/json', '/containers/http/logs?stdout=1',
    '/containers/http/archive?path=/etc/passwd', '/images/busybox/get', '/containers/http/export', '/events?since=1&until=2']) {
    await panel.ask(`headers of ${path}`, 'GET', path, undefined, { shape: 'text', pick: headersOf })
  }
  await panel.do('DELETE', '/containers/http?force=1')
  await panel.do('DELETE', '/networks/hnet')
}

async function post(panel: Panel, path: string, body: string, headers: Record<string, string>): Promise<void> {
  const type = headers['Content-Type']
  const what = `body ${path} ${JSON.stringify(body)} ${type === 'application/json' ? '' : String(type)}`
  await panel.ask(what, 'POST', path, body, { headers, line: true, keep: 'posted' })
  if (path.startsWith('/containers/create')) await panel.do('DELETE', '/containers/{{posted}}?force=1')
  if (path.startsWith('/networks/create')) await panel.do('DELETE', '/networks/{{posted}}')
  if (path.startsWith('/volumes/create')) await panel.do('POST', '/volumes/prune?all=1')
  if (path.endsWith('connect')) await panel.do('POST', '/networks/hnet/disconnect', { Container: 'http', Force: true })
}

/** What may be long and differs for reasons of its own is told by its kind. */
function outline(json: unknown): unknown {
  if (Array.isArray(json)) return `list of ${json.length}`
  if (typeof json === 'object' && json !== null && !('message' in json)) return 'object'
  return json
}

function headersOf(_: unknown, { headers, status }: Answer): unknown {
  const { date: _date, 'content-length': _length, 'transfer-encoding': _encoding, connection: _connection, 'keep-alive': _alive, server, ...rest } = headers
  return { status, server: typeof server === 'string' ? server.replace(/\/.*/, '') : server, ...rest }
}
