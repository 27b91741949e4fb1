/** From what was thrown to what the client reads: the status, and `{"message": "…"}`. */
import { Refusal, messageOf, type RefusalKind } from '../base/refusal.ts'

const statuses: Readonly<Record<RefusalKind, number>> = {
  notModified: 304,
  invalid: 400,
  unauthorized: 401,
  forbidden: 403,
  notFound: 404,
  conflict: 409,
  internal: 500,
  notImplemented: 501,
  unavailable: 503,
}

/** A body beyond what this server reads; the connection cannot be used any further. */
export class BodyTooLarge extends Refusal {
  constructor(bytesMax: number) {
    super('invalid', `request body too large: at most ${bytesMax} bytes are read`)
  }
}

export interface PlainOptions {
  readonly kind?: RefusalKind
  readonly contentType?: string
  readonly cause?: unknown
}

/** What is answered as text: to clients that cannot be of this API, or that expect a stream. */
export class PlainRefusal extends Refusal {
  readonly contentType: string

  constructor(text: string, options: PlainOptions = {}) {
    super(options.kind ?? 'invalid', text, options)
    this.contentType = options.contentType ?? 'text/plain; charset=utf-8'
  }
}

/** The HTTP status of whatever was thrown. */
export function statusOf(error: unknown): number {
  if (error instanceof BodyTooLarge) return 413
  return error instanceof Refusal ? statuses[error.kind] : 500
}

/** The error body of the API. */
export function errorBody(error: unknown): { readonly message: string } {
  return { message: messageOf(error) }
}
