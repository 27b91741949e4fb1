/**
 * Frames on the keeper's sockets: type (1 byte), length (4 bytes, big endian), payload.
 *
 * The control socket carries JSON frames only; an attach connection carries one JSON request and
 * then bytes. A frame above its bound ends the connection: the other side is not ours, or broken.
 */

export const frameType = {
  json: 1,
  stdout: 2,
  stderr: 3,
  stdin: 4,
  /** The stream has ended; the last frame of an attach connection. */
  end: 5,
} as const

/** The zone of a network with 50,000 endpoints fits; nothing else comes near. */
export const frameBytesMax = 16 * 1024 * 1024

const headerBytes = 5

export interface Frame {
  readonly type: number
  readonly payload: Buffer
}

export function encodeFrame(type: number, payload: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(headerBytes + payload.length)
  frame.writeUInt8(type, 0)
  frame.writeUInt32BE(payload.length, 1)
  payload.copy(frame, headerBytes)
  return frame
}

export function encodeJson(message: unknown): Buffer {
  return encodeFrame(frameType.json, Buffer.from(JSON.stringify(message)))
}

/** Puts chunks of a stream together to frames. Throws on a frame above the bound. */
export class FrameReader {
  #chunks: Buffer[] = []
  #bytes = 0

  push(chunk: Buffer): readonly Frame[] {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    const frames: Frame[] = []
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) frames.push(frame)
    return frames
  }

  #next(): Frame | undefined {
    if (this.#bytes < headerBytes) return undefined
    const head = this.#join(headerBytes)
    const length = head.readUInt32BE(1)
    if (length > frameBytesMax) {
      throw new Error(`frame of ${length} bytes on a keeper socket, at most ${frameBytesMax}`)
    }
    if (this.#bytes < headerBytes + length) return undefined
    const whole = this.#join(headerBytes + length)
    const payload = whole.subarray(headerBytes, headerBytes + length)
    const rest = whole.subarray(headerBytes + length)
    this.#chunks[0] = rest
    this.#bytes -= headerBytes + length
    return { type: head.readUInt8(0), payload }
  }

  /** Makes the first chunk at least `length` long; copies only when a frame spans chunks. */
  #join(length: number): Buffer {
    const first = this.#chunks[0]
    if (first !== undefined && first.length >= length) return first
    const joined = Buffer.concat(this.#chunks)
    this.#chunks = [joined]
    return joined
  }
}

/** The JSON of a frame as an unknown object; throws when it is none. */
export function frameObject(frame: Frame): Readonly<Record<string, unknown>> {
  if (frame.type !== frameType.json) {
    throw new Error(`frame of type ${frame.type} where JSON is due`)
  }
  const value: unknown = JSON.parse(frame.payload.toString('utf8'))
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('a keeper message is a JSON object')
  }
  return value as Readonly<Record<string, unknown>>
}
