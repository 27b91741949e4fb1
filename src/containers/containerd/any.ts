/**
 * `google.protobuf.Any` as containerd writes it: bare type names, never `type.googleapis.com/`;
 * OCI documents travel in it as JSON.
 */
import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type MessageShape,
} from '@bufbuild/protobuf'
import { AnySchema, type Any } from '@bufbuild/protobuf/wkt'

/** A message under its full name, for example `containerd.runc.v1.Options`. */
export function anyMessage<D extends DescMessage>(schema: D, message: MessageShape<D>): Any {
  return create(AnySchema, { typeUrl: schema.typeName, value: toBinary(schema, message) })
}

/** The message inside, or `undefined` when it is of another type. */
export function messageInAny<D extends DescMessage>(
  schema: D,
  any: Any | undefined,
): MessageShape<D> | undefined {
  if (any === undefined) return undefined
  const name = any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1)
  return name === schema.typeName ? fromBinary(schema, any.value) : undefined
}

export type OciDocument = 'Spec' | 'Process' | 'LinuxResources'
const ociPrefix = 'types.containerd.io/opencontainers/runtime-spec/1/'

/** A document of the OCI runtime specification. */
export function anyOci(kind: OciDocument, document: unknown): Any {
  const value = new TextEncoder().encode(JSON.stringify(document))
  return create(AnySchema, { typeUrl: ociPrefix + kind, value })
}

/** The JSON inside, or `undefined` when there is none. */
export function ociInAny(any: Any | undefined): unknown {
  if (any === undefined || !any.typeUrl.includes('/opencontainers/')) return undefined
  return JSON.parse(new TextDecoder().decode(any.value))
}
