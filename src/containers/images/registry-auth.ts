/** How a registry lets us in: its challenge read, and tokens fetched for it. */
import { messageOf, Refusal } from '../../base/refusal.ts'
import { parseDocument } from './documents.ts'
import { exchange, readBody } from './http.ts'

/** As clients send them: username, password, identitytoken, registrytoken. */
export type Credentials = Readonly<Record<string, string>>

export interface Challenge {
  readonly scheme: string
  readonly parameters: Readonly<Record<string, string>>
}

const tokenBytesMax = 1024 * 1024
const clientId = 'docker'

/** Parses `Bearer realm="…",service="…"`; undefined when there is no challenge we know. */
export function parseChallenge(header: string | undefined): Challenge | undefined {
  const match = /^\s*(bearer|basic)\b\s*(.*)$/i.exec(header ?? '')
  if (match === null) return undefined
  const parameters: Record<string, string> = {}
  for (const [, name, quoted, bare] of (match[2] ?? '').matchAll(
    /(\w+)=(?:"([^"]*)"|([^\s,]+))/g,
  )) {
    if (name !== undefined) parameters[name.toLowerCase()] = quoted ?? bare ?? ''
  }
  return { scheme: (match[1] ?? '').toLowerCase(), parameters }
}

export function basicAuthorization({
  username = '',
  password = '',
}: Credentials): string | undefined {
  if (username === '') return undefined
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

/** The Authorization header that answers the challenge; undefined when we have nothing to say. */
export async function answerChallenge(
  challenge: Challenge,
  scope: string,
  credentials: Credentials,
  options: { readonly signal: AbortSignal; readonly insecure: boolean },
): Promise<string | undefined> {
  if (challenge.scheme === 'basic') return basicAuthorization(credentials)
  if ((credentials['registrytoken'] ?? '') !== '') return `Bearer ${credentials['registrytoken']}`
  const { realm = '', service = '' } = challenge.parameters
  const url = URL.parse(realm)
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new Refusal(
      'internal',
      `the registry names no place to get a token from: ${JSON.stringify(realm)}`,
    )
  }
  const identity = credentials['identitytoken'] ?? ''
  const answer =
    identity === ''
      ? await getToken(url, service, scope, credentials, options)
      : await exchange({
          ...options,
          method: 'POST',
          url,
          headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
          body: Buffer.from(
            new URLSearchParams({
              grant_type: 'refresh_token',
              refresh_token: identity,
              service,
              scope,
              client_id: clientId,
            }).toString(),
          ),
        })
  const text = await readBody(answer, tokenBytesMax)
  if (answer.status === 401 || answer.status === 403) {
    throw new Refusal(
      'unauthorized',
      `Get "${url.origin}${url.pathname}": unauthorized: incorrect username or password`,
    )
  }
  if (answer.status !== 200) {
    throw new Refusal(
      'internal',
      `getting a token from ${url.origin}: unexpected status ${answer.status}`,
    )
  }
  const { token, access_token: accessToken } = parseToken(text, url)
  const found = typeof token === 'string' ? token : accessToken
  if (typeof found !== 'string') throw new Refusal('internal', `${url.origin} answered no token`)
  return `Bearer ${found}`
}

function getToken(
  realm: URL,
  service: string,
  scope: string,
  credentials: Credentials,
  options: { readonly signal: AbortSignal; readonly insecure: boolean },
) {
  const url = new URL(realm)
  if (service !== '') url.searchParams.set('service', service)
  for (const one of scope.split(' ')) if (one !== '') url.searchParams.append('scope', one)
  const basic = basicAuthorization(credentials)
  if (basic !== undefined) url.searchParams.set('account', credentials['username'] ?? '')
  const headers = basic === undefined ? {} : { Authorization: basic }
  return exchange({ ...options, method: 'GET', url, headers })
}

function parseToken(text: Buffer, url: URL) {
  try {
    return parseDocument(text, 'token')
  } catch (error) {
    throw new Refusal('internal', `${url.origin} answered no token: ${messageOf(error)}`, {
      cause: error,
    })
  }
}
