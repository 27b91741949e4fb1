/** Certificates for TCP addresses, read at start. */
import { readFileSync } from 'node:fs'
import type { TlsOptions } from 'node:tls'
import { Refusal, messageOf } from '../base/refusal.ts'
import type { Config } from './config.ts'

/** undefined: no TLS was asked for. */
export function tlsOptions(config: Config): TlsOptions | undefined {
  const verify = config.tlsverify
  if (!config.tls && !verify) return undefined
  const certificate = { cert: read('tlscert', config.tlscert), key: read('tlskey', config.tlskey) }
  const minVersion = 'TLSv1.2'
  if (!verify) return { ...certificate, minVersion }
  const ca = read('tlscacert', config.tlscacert)
  return { ...certificate, minVersion, ca, requestCert: true, rejectUnauthorized: true }
}

function read(option: string, path: string): Buffer {
  if (path === '') throw new Refusal('invalid', `TLS needs --${option}: name the PEM file`)
  try {
    return readFileSync(path)
  } catch (error) {
    throw new Refusal('invalid', `could not read --${option} ${path}: ${messageOf(error)}`, {
      cause: error,
    })
  }
}
