/**
 * Shapes of JSON documents, in Go's manner: unknown fields are ignored, names match in any case,
 * null is a field's zero value, and every field is there afterwards, in Docker's order.
 *
 * One table gives the TypeScript type, the decoder with Go's error sentences, and what is left
 * out when the value is shown (`omitempty`). Limits: numbers are doubles.
 */
import { sortedMap } from '../base/json.ts'
import { Refusal } from '../base/refusal.ts'

export interface Shape<T> {
  /** @param at Go-like path for the error sentence: `CreateRequest.HostConfig.Binds` */
  decode(value: unknown, at: string): T
  /** The value as it is shown: fields marked `omitempty` are left out when zero. */
  show(value: T): unknown
  /** Paths of what is set in a document that decodes, and that no field of the shape takes. */
  strays?(value: unknown, at: string): readonly string[]
}

const straysIn = (shape: Shape<unknown>, value: unknown, at: string): readonly string[] =>
  shape.strays?.(value, at) ?? []

export type Of<S> = S extends Shape<infer T> ? T : never

type Fields = Readonly<Record<string, Shape<unknown>>>
export type ObjectOf<F extends Fields> = { readonly [K in keyof F]: Of<F[K]> }

const nothing = (value: unknown): value is null | undefined => value === null || value === undefined

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function mismatch(value: unknown, at: string, type: string): Refusal {
  const where = at.includes('.') ? `Go struct field ${at}` : 'Go value'
  return new Refusal(
    'invalid',
    `invalid JSON: json: cannot unmarshal ${kindOf(value, type)} into ${where} of type ${type}`,
  )
}

/** Of a number that is of the wrong kind Go says which one. */
function kindOf(value: unknown, type: string): string {
  if (Array.isArray(value)) return 'array'
  if (typeof value === 'boolean') return 'bool'
  if (typeof value !== 'number' && typeof value !== 'bigint') return typeof value
  return /^(u?int\d*|.*Duration|.*FileMode)$/.test(type) ? `number ${value}` : 'number'
}

function scalar<T extends string | number | boolean>(
  type: string,
  zero: T,
  accepts: (value: unknown) => value is T,
): Shape<T> {
  return {
    decode(value, at) {
      if (nothing(value)) return zero
      if (!accepts(value)) throw mismatch(value, at, type)
      return value
    },
    show: (value) => value,
  }
}

const isString = (value: unknown): value is string => typeof value === 'string'
const isInteger = (value: unknown): value is number => Number.isInteger(value)

/** A string of a type of its own. */
export const stringOf = (type: string): Shape<string> => scalar(type, '', isString)
export const string = stringOf('string')
export const bool = scalar('bool', false, (value): value is boolean => typeof value === 'boolean')

/** Integers beyond 2^53, which the JSON reader keeps exactly, lose their last digits here. */
export function integerOf(
  type: string,
  bits: number,
  isUnsigned = type.startsWith('u'),
): Shape<number> {
  const end = 2n ** BigInt(isUnsigned ? bits : bits - 1)
  const begin = isUnsigned ? 0n : -end
  return {
    decode(value, at) {
      if (nothing(value)) return 0
      const isWhole = typeof value === 'bigint' || isInteger(value)
      if (!isWhole || value < begin || value >= end) throw mismatch(value, at, type)
      return Number(value)
    },
    show: (value) => value,
  }
}
export const int64 = integerOf('int64', 64)
export const int = integerOf('int', 64)
export const uint16 = integerOf('uint16', 16)

/** A pointer in Go: null stays null. */
export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return {
    decode: (value, at) => (nothing(value) ? null : shape.decode(value, at)),
    show: (value) => (value === null ? null : shape.show(value)),
    strays: (value, at) => straysIn(shape, value, at),
  }
}

/** A Go slice: null stays null. */
export function list<T>(
  item: Shape<T>,
  type: string,
  whole = `[]${type}`,
): Shape<readonly T[] | null> {
  return {
    decode(value, at) {
      if (nothing(value)) return null
      if (!Array.isArray(value)) throw mismatch(value, at, whole)
      return value.map((entry: unknown) => item.decode(entry, at))
    },
    show: (value) => (value === null ? null : value.map((entry) => item.show(entry))),
    strays: (value, at) =>
      Array.isArray(value) ? value.flatMap((entry: unknown) => straysIn(item, entry, at)) : [],
  }
}

export const strings = list(string, 'string')

/** Docker's strslice: a single string is a list of one. */
export const stringOrStrings: Shape<readonly string[] | null> = {
  decode(value, at) {
    if (nothing(value)) return null
    if (isString(value)) return [value]
    const isList = Array.isArray(value) && value.every((one) => isString(one) || one === null)
    if (!isList) throw mismatch(value, at, 'string')
    return value.map((one: string | null) => one ?? '')
  },
  show: (value) => value,
}

/**
 * A Go map: null stays null; shown in the order of its keys.
 *
 * @param type of the values, or the map's own name where it has one (`nat.PortMap`)
 */
export function map<T>(item: Shape<T>, type: string): Shape<Readonly<Record<string, T>> | null> {
  const whole = type.startsWith('nat.') ? type : `map[string]${type}`
  return {
    decode(value, at) {
      if (nothing(value)) return null
      if (!isObject(value)) throw mismatch(value, at, whole)
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, item.decode(v, at)]))
    },
    show: (value) =>
      value === null
        ? null
        : Object.fromEntries(
            Object.entries(sortedMap(value)).map(([key, entry]) => [key, item.show(entry)]),
          ),
    strays: (value, at) =>
      isObject(value)
        ? Object.entries(value).flatMap(([key, entry]) => straysIn(item, entry, `${at}.${key}`))
        : [],
  }
}

export const stringMap = map(string, 'string')

/** Go's `map[string]struct{}`: only the keys count. */
export const setOf = (type: string): Shape<Readonly<Record<string, object>> | null> =>
  map(
    {
      decode(value, at) {
        if (!nothing(value) && !isObject(value)) throw mismatch(value, at, 'struct {}')
        return {}
      },
      show: (value: object) => value,
    },
    type,
  )
export const set = setOf('struct {}')

const isZero = (value: unknown): boolean =>
  nothing(value) ||
  value === '' ||
  value === 0 ||
  value === false ||
  (Array.isArray(value) && value.length === 0) ||
  (isObject(value) && Object.keys(value).length === 0)

/** How Go names a struct, for the sentences. */
interface GoStruct {
  /** With its package: `container.HostConfig`. */
  readonly type: string
  /** Structs that are embedded in it, by name, with the fields that come from them. */
  readonly embedded?: Readonly<Record<string, object>>
}

/** Go names the innermost struct, then the whole path of fields from the root. */
function placeOf(at: string, go: GoStruct | undefined, field: string): string {
  if (go === undefined) return `${at}.${field}`
  const path = at.includes('.') ? at.slice(at.indexOf('.')) : ''
  const within = Object.entries(go.embedded ?? {}).find(([, fields]) => field in fields)
  const own = within === undefined ? field : `${within[0]}.${field}`
  return `${go.type.slice(go.type.indexOf('.') + 1)}${path}.${own}`
}

/**
 * @param omitEmpty names of the fields that are left out when they are zero
 * @param omitNull the same for pointers: only null is left out
 */
export function object<F extends Fields>(
  fields: F,
  omitEmpty: readonly (keyof F & string)[] = [],
  omitNull: readonly (keyof F & string)[] = [],
  go?: GoStruct,
): Shape<ObjectOf<F>> {
  const omitted = new Set<string>(omitEmpty)
  const omittedNull = new Set<string>(omitNull)
  const names = Object.keys(fields)
  const byLowerCase = new Map(names.map((name) => [name.toLowerCase(), name]))
  return {
    decode(value, at) {
      if (!nothing(value) && !isObject(value)) throw mismatch(value, at, go?.type ?? 'struct')
      const found: Record<string, unknown> = {}
      for (const [key, entry] of Object.entries(value ?? {})) {
        const name = byLowerCase.get(key.toLowerCase())
        if (name !== undefined && (key === name || !(name in found))) found[name] = entry
      }
      const decoded: Record<string, unknown> = {}
      for (const [name, shape] of Object.entries(fields)) {
        decoded[name] = shape.decode(found[name], placeOf(at, go, name))
      }
      // Every field was decoded by its own shape just now; the compiler cannot follow the loop.
      return decoded as ObjectOf<F>
    },
    show(value) {
      const shown: Record<string, unknown> = {}
      for (const [name, shape] of Object.entries(fields)) {
        const entry = value[name]
        const isLeftOut =
          (omitted.has(name) && isZero(entry)) || (omittedNull.has(name) && entry === null)
        if (!isLeftOut) shown[name] = shape.show(entry)
      }
      return shown
    },
    strays(value, at) {
      return Object.entries(isObject(value) ? value : {}).flatMap(([key, entry]) => {
        const path = at === '' ? key : `${at}.${key}`
        const shape = fields[byLowerCase.get(key.toLowerCase()) ?? '']
        if (shape !== undefined) return straysIn(shape, entry, path)
        return isZero(entry) ? [] : [path]
      })
    },
  }
}
