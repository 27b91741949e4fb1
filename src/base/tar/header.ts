/**
 * The headers of a tar archive, written as Go's archive/tar and so Docker writes them: ustar, with
 * a pax header before it for what has no room or no place there (long or foreign names, large
 * numbers, extended attributes). Names and attributes are bytes, whatever they mean.
 */

export const blockBytes = 512

export type TarKind = 'file' | 'link' | 'symlink' | 'character' | 'block' | 'folder' | 'fifo'

export interface TarEntry {
  readonly kind: TarKind
  /** Folders end with a slash. */
  readonly name: Buffer
  /** Permissions, with set-user-id, set-group-id and sticky. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** Of the content that follows. */
  readonly bytes: number
  /** Seconds since 1970; negative before. */
  readonly mtime: number
  /** Of a link or symlink. */
  readonly target: Buffer
  /** Of a device. */
  readonly major: number
  readonly minor: number
  readonly xattrs: ReadonlyMap<string, Buffer>
}

export const typeFlags: Readonly<Record<TarKind, string>> = {
  file: '0',
  link: '1',
  symlink: '2',
  character: '3',
  block: '4',
  folder: '5',
  fifo: '6',
}

export const xattrPrefix = 'SCHILY.xattr.'

/** What octal digits hold: 7 for a number of an owner or device, 11 for sizes and times. */
const shortMax = 0o7777777
const longMax = 0o77777777777
const nameBytesMax = 100

/** The header of an entry, and its pax header before it where that is needed. */
export function encodeEntry(entry: TarEntry): Buffer {
  const records: Buffer[] = []
  const pax = (key: string, value: Buffer | string) => records.push(paxRecord(key, value))
  if (!fits(entry.name)) pax('path', entry.name)
  if (!fits(entry.target)) pax('linkpath', entry.target)
  if (entry.uid > shortMax) pax('uid', String(entry.uid))
  if (entry.gid > shortMax) pax('gid', String(entry.gid))
  if (entry.bytes > longMax) pax('size', String(entry.bytes))
  if (entry.mtime < 0 || entry.mtime > longMax) pax('mtime', String(entry.mtime))
  for (const [name, value] of entry.xattrs) pax(`${xattrPrefix}${name}`, value)
  const header = encodeHeader(entry, typeFlags[entry.kind])
  if (records.length === 0) return header
  const content = Buffer.concat(records)
  const carrier = { ...plain, name: Buffer.from('PaxHeaders.0/entry'), bytes: content.length }
  return Buffer.concat([encodeHeader(carrier, 'x'), padded(content), header])
}

/** An entry of which only this is to be said: owner root, time 1970. */
export function entryNamed(name: string, change: Partial<TarEntry> = {}): TarEntry {
  return { ...plain, name: Buffer.from(name), ...change }
}

/** A file whole. */
export function encodeFile(name: string, content: Buffer, mode = 0o644): Buffer {
  return Buffer.concat([encodeEntry(entryNamed(name, { mode, bytes: content.length })), padded(content)])
}

/** What ends an archive. */
export const endOfArchive = Buffer.alloc(2 * blockBytes)

/** How many zeros stand behind content of this length. */
export function paddingOf(bytes: number): number {
  return (blockBytes - (bytes % blockBytes)) % blockBytes
}

const plain: TarEntry = {
  kind: 'file',
  name: Buffer.alloc(0),
  mode: 0o644,
  uid: 0,
  gid: 0,
  bytes: 0,
  mtime: 0,
  target: Buffer.alloc(0),
  major: 0,
  minor: 0,
  xattrs: new Map(),
}

function padded(content: Buffer): Buffer {
  return Buffer.concat([content, Buffer.alloc(paddingOf(content.length))])
}

const fits = (name: Buffer): boolean =>
  name.length <= nameBytesMax && name.every((byte) => byte < 0x80)

/** `27 path=…\n`: the length counts its own digits. */
function paxRecord(key: string, value: Buffer | string): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')])
  let length = rest.length
  while (String(length).length + rest.length !== length) {
    length = String(length).length + rest.length
  }
  return Buffer.concat([Buffer.from(String(length)), rest])
}

function encodeHeader(entry: TarEntry, typeFlag: string): Buffer {
  const header = Buffer.alloc(blockBytes)
  const octal = (value: number, at: number, digits: number, max: number) => {
    const shown = value < 0 || value > max ? 0 : Math.floor(value)
    header.write(shown.toString(8).padStart(digits, '0'), at, 'latin1')
  }
  entry.name.copy(header, 0, 0, nameBytesMax)
  octal(entry.mode & 0o7777, 100, 7, shortMax)
  octal(entry.uid, 108, 7, shortMax)
  octal(entry.gid, 116, 7, shortMax)
  octal(entry.bytes, 124, 11, longMax)
  octal(entry.mtime, 136, 11, longMax)
  header.write(typeFlag, 156, 'latin1')
  entry.target.copy(header, 157, 0, nameBytesMax)
  header.write('ustar\0' + '00', 257, 'latin1')
  octal(entry.major, 329, 7, shortMax)
  octal(entry.minor, 337, 7, shortMax)
  header.write(`${checksumOf(header).toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return header
}

/** The sum of all bytes, those of the sum itself taken as blanks. */
export function checksumOf(header: Buffer): number {
  let sum = 0
  for (let at = 0; at < blockBytes; at++) {
    sum += at >= 148 && at < 156 ? 0x20 : (header[at] ?? 0)
  }
  return sum
}
