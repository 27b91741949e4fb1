/**
 * The document that a plugin answered, read as Go reads it: keys in any case, null is nothing, what
 * is not asked for is ignored, and a wrong type is refused in Go's words.
 */
import { goKindOf, goSyntaxError } from '../../base/go-json.ts'
import { Refusal } from '../../base/refusal.ts'

export class Answer {
  readonly #fields: ReadonlyMap<string, unknown>
  readonly #path: string

  /** @param path for sentences: `JoinResponse`, `JoinResponse.InterfaceName` */
  constructor(document: unknown, path: string, goType: string) {
    if (document !== null && (typeof document !== 'object' || Array.isArray(document))) {
      const place = path.includes('.') ? `struct field ${path}` : 'value'
      throw mismatch(document, place, goType)
    }
    const entries = Object.entries(document ?? {})
    this.#fields = new Map(entries.map(([key, value]) => [key.toLowerCase(), value]))
    this.#path = path
  }

  /**
   * A text; '' when there is none.
   *
   * @param at where Go has it, when that is not the key alone
   */
  text(key: string, at = key): string {
    return this.#typed(key, at, 'string', isText) ?? ''
  }

  flag(key: string): boolean {
    return this.#typed(key, key, 'bool', isFlag) ?? false
  }

  whole(key: string): number {
    return this.#typed(key, key, 'int', isWhole) ?? 0
  }

  /** A document within; undefined when there is none. */
  part(key: string, goType: string): Answer | undefined {
    const value = this.#value(key)
    return value === undefined ? undefined : new Answer(value, `${this.#path}.${key}`, goType)
  }

  parts(key: string, goType: string): readonly Answer[] {
    const list = this.#typed(key, key, `[]${goType}`, isList) ?? []
    return list.map((value) => new Answer(value, `${this.#path}.${key}`, goType))
  }

  texts(key: string): readonly string[] {
    const list = this.#typed(key, key, '[]string', isList) ?? []
    return list.map((value) => {
      if (isText(value)) return value
      throw mismatch(value, `struct field ${this.#path}.${key}`, 'string')
    })
  }

  #value(key: string): unknown {
    return this.#fields.get(key.toLowerCase()) ?? undefined
  }

  #typed<T>(
    key: string,
    at: string,
    goType: string,
    fits: (value: unknown) => value is T,
  ): T | undefined {
    const value = this.#value(key)
    if (value === undefined || fits(value)) return value
    throw mismatch(value, `struct field ${this.#path}.${at}`, goType)
  }
}

const isText = (value: unknown): value is string => typeof value === 'string'
const isFlag = (value: unknown): value is boolean => typeof value === 'boolean'
const isWhole = (value: unknown): value is number => Number.isInteger(value)
const isList = (value: unknown): value is readonly unknown[] => Array.isArray(value)

function mismatch(value: unknown, place: string, goType: string): Refusal {
  const sentence = `json: cannot unmarshal ${goKindOf(value)} into Go ${place} of type ${goType}`
  return new Refusal('internal', sentence)
}

/** Names of Go's types for answers, where they do not follow from the method. */
const goTypes: Readonly<Record<string, string>> = {
  GetCapabilities: 'GetCapabilityResponse',
  GetDefaultAddressSpaces: 'GetAddressSpacesResponse',
  GwAllocCheck: 'GwAllocCheckerResponse',
  EndpointOperInfo: 'EndpointInfoResponse',
}

/**
 * Reads what a plugin answered to a method, `NetworkDriver.Join`.
 *
 * @throws Refusal when it is no answer, or says that something is wrong
 */
export function parseAnswer(method: string, text: string): Answer {
  const [service = '', verb = ''] = method.split('.')
  const isManifest = service === 'Plugin'
  const path = isManifest ? 'Manifest' : (goTypes[verb] ?? `${verb}Response`)
  const answer = new Answer(parseText(text), path, `${isManifest ? 'plugins' : 'api'}.${path}`)
  // Network drivers say Err, IPAM drivers Error.
  const said = (key: string) => answer.text(key, `Response.${key}`)
  const wrong = isManifest ? '' : said('Err') || said('Error')
  if (wrong !== '') throw new Refusal('internal', `remote: ${wrong}`)
  return answer
}

function parseText(text: string): unknown {
  if (text.trim() === '') throw new Refusal('internal', 'EOF')
  try {
    return JSON.parse(text)
  } catch (error) {
    const sentence = goSyntaxError(text) ?? 'unexpected content after JSON'
    throw new Refusal('internal', sentence, { cause: error })
  }
}
