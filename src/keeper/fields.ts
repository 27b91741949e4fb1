/**
 * Reads typed fields out of a parsed JSON object: the one place where what another process sent
 * becomes a typed value. Throws an error that names the field.
 */

export type JsonObject = Readonly<Record<string, unknown>>

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function object(from: JsonObject, name: string): JsonObject {
  const value = from[name]
  if (!isObject(value)) throw wrong(name, 'an object')
  return value
}

export function text(from: JsonObject, name: string): string {
  const value = from[name]
  if (typeof value !== 'string') throw wrong(name, 'a string')
  return value
}

export function number(from: JsonObject, name: string): number {
  const value = from[name]
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong(name, 'a number')
  return value
}

export function flag(from: JsonObject, name: string): boolean {
  const value = from[name]
  if (typeof value !== 'boolean') throw wrong(name, 'true or false')
  return value
}

export function list<T>(from: JsonObject, name: string, item: (value: JsonObject) => T): T[] {
  const value = from[name]
  if (!Array.isArray(value)) throw wrong(name, 'a list')
  return value.map((entry: unknown) => {
    if (!isObject(entry)) throw wrong(name, 'a list of objects')
    return item(entry)
  })
}

export function texts(from: JsonObject, name: string): string[] {
  const value = from[name]
  if (!Array.isArray(value)) throw wrong(name, 'a list')
  return value.map((entry: unknown) => {
    if (typeof entry !== 'string') throw wrong(name, 'a list of strings')
    return entry
  })
}

export function textMap(from: JsonObject, name: string): Record<string, string> {
  const entries = Object.keys(object(from, name)).map((key) => [key, text(object(from, name), key)])
  return Object.fromEntries(entries)
}

export function oneOf<T extends string>(from: JsonObject, name: string, all: readonly T[]): T {
  const value = from[name]
  const found = all.find((candidate) => candidate === value)
  if (found === undefined) throw wrong(name, `one of ${all.join(', ')}`)
  return found
}

function wrong(name: string, wanted: string): Error {
  return new Error(`field ${name} of a keeper message must be ${wanted}`)
}
