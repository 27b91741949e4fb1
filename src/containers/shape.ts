/**
 * Shapes of JSON documents, in Go's manner: unknown fields are ignored, names match in any case,
 * null is a field's zero value, and every field is there afterwards, in Docker's order.
 *
 * One table gives the TypeScript type, the decoder with Go's error sentences, and what is left
 * out when the value is shown (`omitempty`). Limits: numbers are doubles.
 */
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
  const kind = Array.isArray(value) ? 'array' : typeof value === 'boolean' ? 'bool' : typeof value
  const where = at.includes('.') ? `Go struct field ${at}` : 'Go value'
  return new Refusal(
    'invalid',
    `invalid JSON: json: cannot unmarshal ${kind} into ${where} of type ${type}`,
  )
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

const exactInt = scalar('int64', 0, isInteger)
export const string = scalar('string', '', isString)
export const bool = scalar('bool', false, (value): value is boolean => typeof value === 'boolean')
/** Integers beyond 2^53, which the JSON reader keeps exactly, lose their last digits here. */
export const int: Shape<number> = {
  decode: (value, at) => exactInt.decode(typeof value === 'bigint' ? Number(value) : value, at),
  show: (value) => value,
}

/** A pointer in Go: null stays null. */
export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return {
    decode: (value, at) => (nothing(value) ? null : shape.decode(value, at)),
    show: (value) => (value === null ? null : shape.show(value)),
    strays: (value, at) => straysIn(shape, value, at),
  }
}

/** A Go slice: null stays null. */
export function list<T>(item: Shape<T>, type: string): Shape<readonly T[] | null> {
  return {
    decode(value, at) {
      if (nothing(value)) return null
      if (!Array.isArray(value)) throw mismatch(value, at, `[]${type}`)
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
  decode: (value, at) => (isString(value) ? [value] : strings.decode(value, at)),
  show: (value) => value,
}

/** A Go map: null stays null. */
export function map<T>(item: Shape<T>, type: string): Shape<Readonly<Record<string, T>> | null> {
  return {
    decode(value, at) {
      if (nothing(value)) return null
      if (!isObject(value)) throw mismatch(value, at, `map[string]${type}`)
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, item.decode(v, at)]))
    },
    show: (value) =>
      value === null
        ? null
        : Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, item.show(entry)])),
    strays: (value, at) =>
      isObject(value)
        ? Object.entries(value).flatMap(([key, entry]) => straysIn(item, entry, `${at}.${key}`))
        : [],
  }
}

export const stringMap = map(string, 'string')

/** Go's `map[string]struct{}`: only the keys count. */
export const set: Shape<Readonly<Record<string, object>> | null> = map(
  { decode: () => ({}), show: (value: object) => value },
  'struct {}',
)

const isZero = (value: unknown): boolean =>
  nothing(value) ||
  value === '' ||
  value === 0 ||
  value === false ||
  (Array.isArray(value) && value.length === 0) ||
  (isObject(value) && Object.keys(value).length === 0)

/**
 * @param omitEmpty names of the fields that are left out when they are zero
 * @param omitNull the same for pointers: only null is left out
 */
export function object<F extends Fields>(
  fields: F,
  omitEmpty: readonly (keyof F & string)[] = [],
  omitNull: readonly (keyof F & string)[] = [],
): Shape<ObjectOf<F>> {
  const omitted = new Set<string>(omitEmpty)
  const omittedNull = new Set<string>(omitNull)
  const names = Object.keys(fields)
  const byLowerCase = new Map(names.map((name) => [name.toLowerCase(), name]))
  return {
    decode(value, at) {
      if (!nothing(value) && !isObject(value)) throw mismatch(value, at, 'struct')
      const found: Record<string, unknown> = {}
      for (const [key, entry] of Object.entries(value ?? {})) {
        const name = byLowerCase.get(key.toLowerCase())
        if (name !== undefined && (key === name || !(name in found))) found[name] = entry
      }
      const decoded: Record<string, unknown> = {}
      for (const [name, shape] of Object.entries(fields)) {
        decoded[name] = shape.decode(found[name], `${at}.${name}`)
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
