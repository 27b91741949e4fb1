/**
 * `docker import http://…`: the tar that a URL leads to, as a stream. Without a scheme it is HTTP;
 * certificates are checked against those of the system.
 */
import type { Readable } from 'node:stream'
import { messageOf, Refusal } from '../../base/refusal.ts'
import { exchange, readBody, type HttpAnswer } from './http.ts'
import { dialReason } from './registry-hosts.ts'

/** What a server says of a refusal is a line or a page. */
const complaintBytesMax = 64 * 1024

/** The address that `fromSrc` means. */
export function sourceUrl(source: string): URL {
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(source) ? source : `http://${source}`
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new Refusal('invalid', `cannot import from ${source}: it is no URL of HTTP`)
  }
  return url
}

/** Resolves when the server has begun to send; refuses with what it says otherwise. */
export async function download(url: URL, signal: AbortSignal): Promise<Readable> {
  let answer: HttpAnswer
  try {
    answer = await exchange({ method: 'GET', url, headers: {}, signal, insecure: false })
  } catch (error) {
    if (error instanceof Refusal) throw error
    const why = dialReason(url, error) ?? messageOf(error)
    throw new Refusal('internal', `Get "${url.href}": ${why}`, { cause: error })
  }
  const { status, body } = answer
  if (status < 400) return body
  const said = (await readBody(answer, complaintBytesMax)).toString().trim()
  const text = `failed to GET ${url.href} with status ${status} ${body.statusMessage ?? ''}: ${said}`
  throw new Refusal(status === 404 ? 'notFound' : 'internal', text)
}
