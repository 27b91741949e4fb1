/**
 * Where the API listens: unix sockets that only root and a group may open, TCP with client
 * certificates (or without, when that was asked for in so many words), sockets of systemd.
 */
import { chmodSync, chownSync, lstatSync, mkdirSync, readFileSync, unlinkSync } from 'node:fs'
import type { Server } from 'node:http'
import { dirname } from 'node:path'
import type { TlsOptions } from 'node:tls'
import { log } from '../base/log.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import type { Api } from './server.ts'

export type Address =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'fd' }

/** sun_path is 108 bytes with its final zero. */
const unixPathBytesMax = 107

/** Reads one `-H`: `unix:///run/x.sock`, `tcp://0.0.0.0:2376`, `fd://`, or a bare path or port. */
export function parseAddress(text: string, tls: boolean): Address {
  const given = text.trim()
  const match = /^([a-z]+):\/\/(.*)$/s.exec(given)
  const scheme = match?.[1] ?? (given.startsWith('/') ? 'unix' : 'tcp')
  const rest = match?.[2] ?? given
  if (scheme === 'unix') {
    const path = rest === '' ? '/var/run/docker.sock' : rest
    if (Buffer.byteLength(path) > unixPathBytesMax) {
      throw new Refusal(
        'invalid',
        `unix socket path "${path}" is too long: ` +
          `at most ${unixPathBytesMax} bytes, choose a shorter one`,
      )
    }
    return { kind: 'unix', path }
  }
  if (scheme === 'fd') return { kind: 'fd' }
  if (scheme !== 'tcp') throw new Refusal('invalid', `invalid bind address format: ${given}`)
  return parseTcp(rest, given, tls)
}

function parseTcp(rest: string, given: string, tls: boolean): Address {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:/[\]]*)(?::(\d*))?\/?$/.exec(rest)
  if (match === null) throw new Refusal('invalid', `invalid bind address format: ${given}`)
  const host = (match[1] ?? '').replace(/^\[|\]$/g, '')
  const port = match[2] === undefined || match[2] === '' ? (tls ? 2376 : 2375) : Number(match[2])
  if (port < 1 || port > 65535)
    throw new Refusal('invalid', `invalid bind address format: ${given}`)
  return { kind: 'tcp', host: host === '' ? '127.0.0.1' : host, port }
}

/** Listens there; refuses with the address in the sentence. */
export async function listen(
  api: Api,
  address: Address,
  options: { readonly tls?: TlsOptions; readonly group: string },
): Promise<void> {
  if (address.kind === 'unix') {
    await listenUnix(api.createServer(), address.path, options.group)
    log.info('API listens', { address: `unix://${address.path}` })
  } else if (address.kind === 'tcp') {
    await bind(
      api.createServer(options.tls),
      { host: address.host, port: address.port },
      `tcp://${address.host}:${address.port}`,
    )
    log.info('API listens', { address: `tcp://${address.host}:${address.port}` })
  } else {
    await listenSystemd(api)
  }
}

function bind(server: Server, where: object, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(
        new Refusal('internal', `failed to load listeners: ${name}: ${messageOf(error)}`, {
          cause: error,
        }),
      )
    })
    server.listen(where, () => {
      server.removeAllListeners('error')
      server.on('error', (error) =>
        log.error('listener failed', { address: name, error: error.message }),
      )
      resolve()
    })
  })
}

async function listenUnix(server: Server, path: string, group: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true })
  removeStaleSocket(path)
  // Nobody may open it in the moment before its mode is set: bind happens inside listen().
  const before = process.umask(0o777)
  const bound = bind(server, { path }, `unix://${path}`)
  process.umask(before)
  await bound
  chownSync(path, 0, groupId(group))
  chmodSync(path, 0o660)
}

function removeStaleSocket(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) {
    throw new Refusal('internal', `failed to load listeners: ${path} exists and is no socket`)
  }
  unlinkSync(path)
}

/** The group's number; without the default group `docker` on this machine, root's. */
function groupId(group: string): number {
  if (/^\d+$/.test(group)) return Number(group)
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((text) => text.startsWith(`${group}:`))
  if (line !== undefined) return Number(line.split(':')[2])
  if (group === 'docker') {
    log.debug('no group docker here: only root may open the socket')
    return 0
  }
  throw new Refusal('invalid', `group ${group} not found`)
}

/** systemd hands sockets over from descriptor 3 on. */
async function listenSystemd(api: Api): Promise<void> {
  const count =
    process.env['LISTEN_PID'] === String(process.pid) ? Number(process.env['LISTEN_FDS']) : 0
  if (!(count > 0)) {
    throw new Refusal(
      'invalid',
      'failed to load listeners: no sockets found via socket activation: ' +
        'make sure the service was started by systemd',
    )
  }
  for (let fd = 3; fd < 3 + count; fd++) await bind(api.createServer(), { fd }, `fd://${fd}`)
  log.info('API listens', { address: 'fd://', sockets: count })
}
