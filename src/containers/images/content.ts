/**
 * Blobs in containerd's content store, written and read as streams under a lease, so that the
 * garbage collector leaves them alone until an image refers to them.
 */
import { createHash, randomUUID } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { log } from '../../base/log.ts'
import { messageOf, Refusal } from '../../base/refusal.ts'
import { throughRestart } from '../containerd/away.ts'
import { isAlreadyExists, unlessNotFound, type Containerd } from '../containerd/client.ts'
import { WriteAction, WriteContentRequestSchema } from '../containerd/gen/content_pb.ts'
import type { WriteContentRequest } from '../containerd/gen/content_pb.ts'
import { documentBytesMax, type Descriptor } from './documents.ts'

export interface Blob {
  readonly digest: string
  readonly size: number
  /** The first bytes, which tell how it is compressed. */
  readonly head: Uint8Array
}

type Labels = Readonly<Record<string, string>>

/** Every message is answered, so few and large ones; the server takes up to 16 MiB. */
const messageBytes = 1024 * 1024
const headBytes = 6
/** How many messages are read before containerd has taken those before them. */
const messagesAhead = 8

export class ContentStore {
  readonly containerd: Containerd
  readonly #headers: Labels
  readonly #lease: string

  /** @param lease '' for reading only */
  constructor(containerd: Containerd, lease: string) {
    this.containerd = containerd
    this.#lease = lease
    this.#headers = lease === '' ? {} : { 'containerd-lease': lease }
  }

  /** For calls on other services that make something that must not be collected yet. */
  get options(): { readonly headers: Labels } {
    return { headers: this.#headers }
  }

  async has(digest: string): Promise<boolean> {
    return (await unlessNotFound(this.containerd.content.info({ digest }))) !== undefined
  }

  /** Writes a stream of unknown length; the digest is ours and checked by containerd. */
  async write(source: AsyncIterable<Uint8Array>, labels: Labels = {}): Promise<Blob> {
    const hash = createHash('sha256')
    let size = 0
    let head: Uint8Array = new Uint8Array()
    let digest = ''
    const ref = `portolan-${randomUUID()}`
    // Before it is there, or found to be there: then the collector never sees it without us.
    const hold = () => this.lease(digest, 'content')
    let failure: { readonly error: unknown } | undefined
    const requests = async function* (): AsyncGenerator<WriteContentRequest> {
      try {
        for await (const data of ahead(inMessages(source))) {
          if (size === 0) head = Uint8Array.from(data.subarray(0, headBytes))
          hash.update(data)
          const offset = BigInt(size)
          size += data.length
          yield create(WriteContentRequestSchema, { action: WriteAction.WRITE, ref, offset, data })
        }
      } catch (error) {
        // An end without a commit: what was begun is thrown away when containerd has taken it in.
        failure = { error }
        return
      }
      digest = `sha256:${hash.digest('hex')}`
      await hold()
      const end = { action: WriteAction.COMMIT, ref, offset: BigInt(size), total: BigInt(size) }
      yield create(WriteContentRequestSchema, { ...end, expected: digest, labels: { ...labels } })
    }
    try {
      for await (const answer of this.containerd.content.write(requests(), this.options)) {
        if (answer.digest !== '' && answer.action === WriteAction.COMMIT) digest = answer.digest
      }
      if (failure !== undefined) throw failure.error
    } catch (error) {
      if (!isAlreadyExists(error)) {
        await this.#throwAway(ref)
        throw error
      }
      await this.label(digest, labels)
    }
    return { digest, size, head }
  }

  /** The reason for it is what the user hears of; what stays behind goes when its lease does. */
  async #throwAway(ref: string): Promise<void> {
    try {
      await this.abort(ref)
    } catch (error) {
      log.warn('what was written in vain could not be removed', { ref, error: messageOf(error) })
    }
  }

  /** What is there already and maybe nobody else's any more is ours too from now on. */
  async lease(id: string, type: 'content' | `snapshots/${string}`): Promise<void> {
    if (this.#lease === '') return
    await this.containerd.leases.addResource({ id: this.#lease, resource: { id, type } })
  }

  /** Small documents: manifests and configurations. */
  async writeBytes(bytes: Uint8Array, labels: Labels = {}): Promise<Blob> {
    return this.write(
      (async function* () {
        yield bytes
      })(),
      labels,
    )
  }

  /** How much of an interrupted download is there; 0 when nothing. */
  async resumeOffset(ref: string, expected: Descriptor): Promise<number> {
    const stat = create(WriteContentRequestSchema, {
      action: WriteAction.STAT,
      ref,
      total: BigInt(expected.size),
      expected: expected.digest,
    })
    const requests = async function* () {
      yield stat
    }
    let offset = 0
    // To the end: only then has containerd let go of the write.
    for await (const answer of this.containerd.content.write(requests(), this.options)) {
      offset = Number(answer.offset)
    }
    return offset
  }

  /**
   * Writes the rest of a blob whose digest is known, from `offset` on; containerd checks it. What
   * came before the source broke off is there when this rejects: `resumeOffset` tells how much.
   */
  async writeKnown(
    ref: string,
    expected: Descriptor,
    offset: number,
    source: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const { digest } = expected
    const total = BigInt(expected.size)
    let at = offset
    const common = { ref, total, expected: digest }
    let failure: { readonly error: unknown } | undefined
    const requests = async function* (): AsyncGenerator<WriteContentRequest> {
      try {
        for await (const data of ahead(inMessages(source))) {
          const message = { action: WriteAction.WRITE, ...common, offset: BigInt(at), data }
          at += data.length
          yield create(WriteContentRequestSchema, message)
        }
      } catch (error) {
        // An end without a commit: containerd takes in what was sent, and keeps it.
        failure = { error }
        return
      }
      const commit = { action: WriteAction.COMMIT, ...common, offset: BigInt(at) }
      yield create(WriteContentRequestSchema, commit)
    }
    let committed = ''
    try {
      for await (const answer of this.containerd.content.write(requests(), this.options)) {
        if (answer.action === WriteAction.COMMIT) committed = answer.digest
      }
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      return
    }
    if (failure !== undefined) throw failure.error
    if (committed === '') throw new Error(`containerd ended the write of ${digest} before its end`)
  }

  /** Forgets a write that was begun. */
  async abort(ref: string): Promise<void> {
    await unlessNotFound(this.containerd.content.abort({ ref }))
  }

  /** Adds labels to a blob that is there. */
  async label(digest: string, labels: Labels): Promise<void> {
    const paths = Object.keys(labels).map((key) => `labels.${key}`)
    if (paths.length === 0) return
    const info = { digest, labels: { ...labels } }
    await this.containerd.content.update({ info, updateMask: { paths } }, this.options)
  }

  /** The blob in pieces. */
  async *read(digest: string): AsyncGenerator<Uint8Array> {
    for await (const piece of this.containerd.content.read({ digest })) yield piece.data
  }

  /** A small blob whole; refuses one that is too large to be a document. */
  readBytes(digest: string): Promise<Buffer> {
    return throughRestart(() => this.#readBytesOnce(digest))
  }

  async #readBytesOnce(digest: string): Promise<Buffer> {
    const pieces: Uint8Array[] = []
    let size = 0
    for await (const piece of this.read(digest)) {
      size += piece.length
      if (size > documentBytesMax) {
        throw new Refusal('invalid', `invalid image: ${digest} is too large for a document`)
      }
      pieces.push(piece)
    }
    return Buffer.concat(pieces)
  }
}

/** Pieces of any size as messages of about `messageBytes`; all of them, also before a failure. */
async function* inMessages(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let waiting: Uint8Array[] = []
  let size = 0
  let failure: { readonly error: unknown } | undefined
  try {
    for await (const piece of source) {
      for (let at = 0; at < piece.length; at += messageBytes) {
        const part = piece.subarray(at, at + messageBytes)
        if (size + part.length > messageBytes) {
          yield Buffer.concat(waiting)
          waiting = []
          size = 0
        }
        waiting.push(part)
        size += part.length
      }
    }
  } catch (error) {
    failure = { error }
  }
  if (size > 0) yield Buffer.concat(waiting)
  if (failure !== undefined) throw failure.error
}

/**
 * The same items, of which some are fetched while the consumer is busy with earlier ones: the
 * source and containerd work at the same time.
 */
async function* ahead<T>(source: AsyncIterable<T>): AsyncGenerator<T> {
  const items = source[Symbol.asyncIterator]()
  const fetched: Promise<IteratorResult<T>>[] = []
  let last: Promise<unknown> = Promise.resolve()
  const fetch = () => {
    const next = last.then(() => items.next())
    // Whoever consumes it hears of a failure; until then it is nobody's.
    last = next.catch(() => undefined)
    fetched.push(next)
  }
  try {
    for (let count = 0; count < messagesAhead; count++) fetch()
    for (let next = fetched.shift(); next !== undefined; next = fetched.shift()) {
      const { done, value } = await next
      if (done === true) return
      fetch()
      yield value
    }
  } finally {
    // Not waited for: a source that stands still would hold up the failure that ended this.
    void items.return?.().catch((error: unknown) => {
      log.debug('a source did not end well', { error: messageOf(error) })
    })
  }
}

/** A lease for the time of `work`; what it made and nothing refers to is collected afterwards. */
export async function withLease<T>(
  containerd: Containerd,
  work: (content: ContentStore) => Promise<T>,
): Promise<T> {
  const expires = new Date(Date.now() + leaseHours * 3_600_000).toISOString()
  const labels = { [leaseLabel]: 'yes', 'containerd.io/gc.expire': expires.replace(/\.\d+Z$/, 'Z') }
  const id = `portolan-${randomUUID()}`
  await containerd.leases.create({ id, labels })
  try {
    return await work(new ContentStore(containerd, id))
  } finally {
    try {
      await containerd.leases.delete({ id })
    } catch (error) {
      log.warn('a lease of image work stays until it expires', { lease: id, why: messageOf(error) })
    }
  }
}

/** Leases of a daemon that was killed in the middle. */
export async function dropStaleLeases(containerd: Containerd): Promise<void> {
  const { leases } = await containerd.leases.list({ filters: [`labels."${leaseLabel}"==yes`] })
  for (const { id } of leases) await unlessNotFound(containerd.leases.delete({ id }))
}

const leaseLabel = 'portolan.images'
/** Longer than the slowest pull; after a crash the next start deletes it anyway. */
const leaseHours = 24
