/**
 * Cuts the output of one stream into log lines as dockerd does: at newlines, and a line that is
 * longer than 16 KiB into parts without newline. A part never ends inside a UTF-8 character.
 */

/** dockerd's size of a part; readers glue parts back together. */
export const partBytesMax = 16 * 1024

const newline = 0x0a
const empty = Buffer.alloc(0)

export class LineCutter {
  /** What has no newline yet: always shorter than `partBytesMax`. */
  #rest: Buffer = empty

  get rest(): Buffer {
    return this.#rest
  }

  /** Goes on where another cutter was. */
  set rest(rest: Buffer) {
    this.#rest = Buffer.from(rest)
  }

  /** Calls `emit` for each whole line (newline included) and each full part in `data`. */
  push(data: Buffer, emit: (text: string) => void): void {
    let from = 0
    while (from < data.length) {
      const room = partBytesMax - this.#rest.length
      const end = data.indexOf(newline, from)
      if (end !== -1 && end - from < room) {
        emit(this.#take(data.subarray(from, end + 1)))
        from = end + 1
      } else if (data.length - from >= room) {
        from = this.#emitPart(data, from, room, emit)
      } else {
        this.#rest = Buffer.concat([this.#rest, data.subarray(from)])
        return
      }
    }
  }

  /** At the end of the stream: the last words, without newline. */
  flush(emit: (text: string) => void): void {
    if (this.#rest.length > 0) emit(this.#take(empty))
  }

  #emitPart(data: Buffer, from: number, room: number, emit: (text: string) => void): number {
    const part = Buffer.concat([this.#rest, data.subarray(from, from + room)])
    const cut = characterBoundary(part)
    this.#rest = empty
    emit(part.toString('utf8', 0, cut))
    // What was cut off lies in `data`, unless the rest held it (a character of at most 4 bytes).
    const back = part.length - cut
    if (back > room) {
      this.#rest = Buffer.from(part.subarray(cut))
      return from + room
    }
    return from + room - back
  }

  #take(tail: Buffer): string {
    if (this.#rest.length === 0) return tail.toString('utf8')
    const line = Buffer.concat([this.#rest, tail])
    this.#rest = empty
    return line.toString('utf8')
  }
}

/** The greatest length that does not end inside a character; all of it when it is no UTF-8. */
function characterBoundary(bytes: Buffer): number {
  for (let back = 1; back <= 3 && back < bytes.length; back++) {
    const byte = bytes[bytes.length - back] ?? 0
    if ((byte & 0xc0) === 0x80) continue
    const width = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    return width > back ? bytes.length - back : bytes.length
  }
  return bytes.length
}
