/**
 * Streams as they are inside, told by their first bytes: gzip and zstd by Node, xz and bzip2 by the
 * programs of these names, which dockerd asks, too.
 */
import { spawn } from 'node:child_process'
import { pipeline, Readable, type Writable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { Refusal } from '../../base/refusal.ts'

const gzip = Buffer.from([0x1f, 0x8b])
const zstd = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])
const programs: Readonly<Record<string, Buffer>> = {
  bzip2: Buffer.from('BZh'),
  xz: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
}
const longestMagic = 6
/** What a program says of a damaged stream is a line. */
const complaintBytesMax = 1024

/** The stream decompressed; as it is when it is not compressed. */
export async function decompressed(source: Readable): Promise<Readable> {
  const { head, whole } = await peek(source)
  const startsWith = (magic: Buffer) => head.subarray(0, magic.length).equals(magic)
  for (const [program, magic] of Object.entries(programs)) {
    if (startsWith(magic)) return Readable.from(byProgram(program, whole), { objectMode: false })
  }
  const through = startsWith(gzip)
    ? createGunzip()
    : startsWith(zstd)
      ? createZstdDecompress()
      : undefined
  // An error of either end destroys both; who reads the result hears of it.
  return through === undefined ? whole : pipeline(whole, through, () => undefined)
}

/** What `xz -dc` makes of the stream; the program ends with its reader. */
async function* byProgram(program: string, source: Readable): AsyncGenerator<Uint8Array> {
  const child = spawn(program, ['-d', '-c', '-q'], { stdio: 'pipe' })
  let complaint = ''
  child.stderr.on('data', (text: Buffer) => {
    if (complaint.length < complaintBytesMax) complaint += text.toString()
  })
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('close', resolve)
    child.on('error', (error) => {
      const advice = `install it, or decompress the archive first`
      const text = `this archive is packed with ${program}, which cannot be run: ${advice}`
      reject(new Refusal('invalid', text, { cause: error }))
    })
  })
  // Also when nobody reads on.
  ended.catch(() => undefined)
  const fed = pipelineOf(source, child.stdin)
  try {
    for await (const piece of child.stdout) yield asBytes(piece)
    const code = await ended
    // A source that broke off is the reason for whatever the program says.
    await fed
    const why = complaint.trim().split('\n')[0] ?? ''
    const otherwise = `${program} cannot unpack it, exit status ${code}`
    if (code !== 0) throw new Refusal('invalid', why === '' ? otherwise : why)
  } finally {
    child.kill('SIGKILL')
    source.destroy()
  }
}

/** Resolves when all was taken, or the program wants no more. */
function pipelineOf(source: Readable, sink: Writable): Promise<void> {
  const done = Promise.withResolvers<void>()
  pipeline(source, sink, (error) => {
    const isRefused = error !== null && error !== undefined && error.code !== 'EPIPE'
    if (isRefused && error.code !== 'ERR_STREAM_PREMATURE_CLOSE') done.reject(error)
    else done.resolve()
  })
  done.promise.catch(() => undefined)
  return done.promise
}

/** The first bytes, and the stream with them put back. */
async function peek(
  source: Readable,
): Promise<{ readonly head: Buffer; readonly whole: Readable }> {
  const pieces: AsyncIterator<unknown> = source[Symbol.asyncIterator]()
  let head = Buffer.alloc(0)
  let ended = false
  while (head.length < longestMagic && !ended) {
    const next = await pieces.next()
    if (next.done === true) ended = true
    else head = Buffer.concat([head, asBytes(next.value)])
  }
  const whole = async function* () {
    if (head.length > 0) yield head
    try {
      while (!ended) {
        const next = await pieces.next()
        if (next.done === true) return
        yield asBytes(next.value)
      }
    } finally {
      await pieces.return?.()
    }
  }
  return { head, whole: Readable.from(whole(), { objectMode: false }) }
}

function asBytes(piece: unknown): Uint8Array {
  return piece instanceof Uint8Array ? piece : Buffer.from(String(piece))
}
