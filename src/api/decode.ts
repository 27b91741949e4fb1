/**
 * Decoders for request bodies, with the manners of Go's encoding/json, because clients rely on
 * them: keys match whatever their case, unknown keys are ignored, null and absent mean the zero
 * value, and a wrong type is refused with Go's sentence.
 *
 * A decoder never sees the text: `json.ts` parses it (and keeps integers beyond 2^53 as bigint).
 */
import { goKindOf } from '../base/go-json.ts'
import { Refusal } from '../base/refusal.ts'

export interface Decoder<T> {
  /**
   * The typed value, or the zero value of the type when `value` is null or undefined.
   * @param at where it stands, for the sentence: `CreateRequest.Name`; '' for the whole body
   */
  decode(value: unknown, at: string): T
}

/** The type that a decoder answers: `type Body = Decoded<typeof createRequest>`. */
export type Decoded<D> = D extends Decoder<infer T> ? T : never

type Fields = Readonly<Record<string, Decoder<unknown>>>
type DecodedFields<F extends Fields> = { readonly [K in keyof F]: Decoded<F[K]> }

/** Integers kept exactly, for counters and sizes that may exceed 2^53. */
export type Integer = number | bigint

/** Refuses with Go's sentence for a value of the wrong type. */
export function mismatch(value: unknown, at: string, goType: string): Refusal {
  const place = at === '' ? 'value' : `struct field ${at}`
  const text = `json: cannot unmarshal ${goKindOf(value)} into Go ${place} of type ${goType}`
  return new Refusal('invalid', `invalid JSON: ${text}`)
}

/** A decoder from two functions: the zero value, and what a present value becomes. */
function decoder<T>(zero: () => T, present: (value: unknown, at: string) => T): Decoder<T> {
  return {
    decode: (value, at) => (value === null || value === undefined ? zero() : present(value, at)),
  }
}

/** Zero value ''. */
export const string: Decoder<string> = decoder(
  () => '',
  (value, at) => {
    if (typeof value !== 'string') throw mismatch(value, at, 'string')
    return value
  },
)

/** Zero value false. */
export const bool: Decoder<boolean> = decoder(
  () => false,
  (value, at) => {
    if (typeof value !== 'boolean') throw mismatch(value, at, 'bool')
    return value
  },
)

/** Zero value 0. */
export const float64: Decoder<number> = decoder(
  () => 0,
  (value, at) => {
    if (typeof value !== 'number' && typeof value !== 'bigint') throw mismatch(value, at, 'float64')
    return Number(value)
  },
)

function wholeNumber(
  value: unknown,
  at: string,
  goType: string,
  min: bigint,
  max: bigint,
): Integer {
  if (typeof value !== 'number' && typeof value !== 'bigint') throw mismatch(value, at, goType)
  const whole = typeof value === 'bigint' || Number.isInteger(value)
  if (!whole || value < min || value > max) {
    const place = at === '' ? 'value' : `struct field ${at}`
    const text = `json: cannot unmarshal number ${value} into Go ${place} of type ${goType}`
    throw new Refusal('invalid', `invalid JSON: ${text}`)
  }
  return value
}

function integer(goType: string, min: bigint, max: bigint): Decoder<number> {
  return decoder(
    () => 0,
    (value, at) => Number(wholeNumber(value, at, goType, min, max)),
  )
}

const int64Min = -(2n ** 63n)
const int64Max = 2n ** 63n - 1n
const uint64Max = 2n ** 64n - 1n

/** Integers; zero value 0. Beyond 2^53 they are rounded: where that matters use `exactInt64`. */
export const int: Decoder<number> = integer('int', int64Min, int64Max)
export const int64: Decoder<number> = integer('int64', int64Min, int64Max)
export const uint64: Decoder<number> = integer('uint64', 0n, uint64Max)
export const uint32: Decoder<number> = integer('uint32', 0n, 2n ** 32n - 1n)
export const uint16: Decoder<number> = integer('uint16', 0n, 2n ** 16n - 1n)
/** A number where that is exact, else a bigint; `base/json.ts` prints both alike. */
export const exactInt64: Decoder<Integer> = decoder<Integer>(
  () => 0,
  (value, at) => wholeNumber(value, at, 'int64', int64Min, int64Max),
)

/** Whatever is there, unchecked; undefined when absent. For what is stored and shown as it came. */
export const raw: Decoder<unknown> = { decode: (value) => value }

/** `undefined` for null and absent, where Go has a pointer, or where nil and empty differ. */
export function optional<T>(inner: Decoder<T>): Decoder<T | undefined> {
  return decoder<T | undefined>(
    () => undefined,
    (value, at) => inner.decode(value, at),
  )
}

/** Zero value [] (wrap in `optional` where null and [] differ). */
export function list<T>(item: Decoder<T>, goType = '[]string'): Decoder<readonly T[]> {
  return decoder<readonly T[]>(
    () => [],
    (value, at) => {
      if (!Array.isArray(value)) throw mismatch(value, at, goType)
      return value.map((element: unknown) => item.decode(element, at))
    },
  )
}

/** A list of strings that may be written as one string (Cmd, Entrypoint); zero value undefined. */
export const strSlice: Decoder<readonly string[] | undefined> = decoder<
  readonly string[] | undefined
>(
  () => undefined,
  (value, at) => {
    if (typeof value === 'string') return [value]
    const isList = Array.isArray(value) && value.every((item) => typeof item === 'string')
    if (!isList) throw mismatch(value, at, 'string')
    return value
  },
)

/** An object as a map; zero value {} (wrap in `optional` where null and {} differ). */
export function map<T>(
  item: Decoder<T>,
  goType = 'map[string]string',
): Decoder<Readonly<Record<string, T>>> {
  return decoder<Readonly<Record<string, T>>>(
    () => ({}),
    (value, at) => {
      const entries = entriesOf(value)
      if (entries === undefined) throw mismatch(value, at, goType)
      return Object.fromEntries(entries.map(([key, element]) => [key, item.decode(element, at)]))
    },
  )
}

/** A set written as a map to empty objects (ExposedPorts, Volumes): its keys, in order. */
export const keySet: Decoder<readonly string[]> = decoder<readonly string[]>(
  () => [],
  (value, at) => {
    const entries = entriesOf(value)
    if (entries === undefined) throw mismatch(value, at, 'map[string]struct {}')
    return entries.map(([key]) => key)
  },
)

/**
 * An object with known fields. Absent fields have their zero value, so the whole has one too: wrap
 * in `optional` where absence means something.
 *
 * @param goType Go's name of the type with its package, for the sentences
 * @param embedded Go structs that are spread into `fields`, by name: its sentences name them
 */
export function struct<F extends Fields>(
  goType: string,
  fields: F,
  embedded: Readonly<Record<string, Fields>> = {},
): Decoder<DecodedFields<F>> {
  const name = goType.slice(goType.indexOf('.') + 1)
  const within = (field: string) =>
    Object.entries(embedded).find(([, inner]) => field in inner)?.[0] ?? ''
  const prefixes = new Map(
    Object.keys(fields).map((key) => [key, within(key) === '' ? '' : `${within(key)}.`]),
  )
  const byLowerCase = new Map(Object.keys(fields).map((key) => [key.toLowerCase(), key]))
  return {
    decode(value, at) {
      const found = new Map<string, unknown>()
      const entries = value === null || value === undefined ? [] : entriesOf(value)
      if (entries === undefined) throw mismatch(value, at, goType)
      for (const [key, element] of entries) {
        const field = byLowerCase.get(key.toLowerCase())
        // As in Go, null leaves what an earlier spelling of the key has set.
        if (field !== undefined && element !== null) found.set(field, element)
      }
      // Go names the innermost struct, then the whole path of fields from the root.
      const path = at.includes('.') ? at.slice(at.indexOf('.')) : ''
      const decodeField = ([field, inner]: [string, Decoder<unknown>]) =>
        [field, inner.decode(found.get(field), `${name}${path}.${prefixes.get(field)}${field}`)] as const
      // The keys are those of `fields` and each value is its decoder's: the type says no more.
      return Object.fromEntries(Object.entries(fields).map(decodeField)) as DecodedFields<F>
    },
  }
}

/** The decoded value turned into another by `change`, which may refuse. */
export function into<A, B>(inner: Decoder<A>, change: (value: A, at: string) => B): Decoder<B> {
  return { decode: (value, at) => change(inner.decode(value, at), at) }
}

function entriesOf(value: unknown): [string, unknown][] | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return Object.entries(value)
}
