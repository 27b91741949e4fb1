/**
 * The one error that a user is meant to read: what was asked, why it cannot be, what to do.
 *
 * A `Refusal` carries a kind that the API turns into an HTTP status. Anything else that is
 * thrown is a fault of ours or of the system and becomes status 500 with its message.
 */

/** Kinds in the words of the engine API; `api/errors.ts` maps each to its HTTP status. */
export type RefusalKind =
  | 'notModified' // 304: it is so already
  | 'invalid' // 400
  | 'unauthorized' // 401
  | 'forbidden' // 403
  | 'notFound' // 404
  | 'conflict' // 409
  | 'internal' // 500: Docker answers 500 here too, and clients match on the sentence
  | 'notImplemented' // 501
  | 'unavailable' // 503

export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly kind: RefusalKind

  /**
   * @param message the whole sentence, Docker's own words where clients match on them
   * @param options `cause`: the error underneath
   */
  constructor(kind: RefusalKind, message: string, options: { cause?: unknown } = {}) {
    super(message, options)
    this.kind = kind
  }
}

/** The same refusal with its sentence put behind `prefix`; other errors become kind `internal`. */
export function wrap(prefix: string, error: unknown): Refusal {
  const kind = error instanceof Refusal ? error.kind : 'internal'
  return new Refusal(kind, prefix + messageOf(error), { cause: error })
}

/** The sentence of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The refusal that `check` throws, if it does; anything else goes through. */
export function refusalOf(check: () => void): Refusal | undefined {
  try {
    check()
    return undefined
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
}
