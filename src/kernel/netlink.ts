/**
 * Netlink requests: send messages, check every acknowledgement, read dumps.
 *
 * A socket belongs to the namespace it was opened in. The kernel answers within `send`, so nothing
 * here waits, but for what is sent ahead: a reply that is missing is an error, never a hang. A failed message does not
 * stop those behind it in the same send; callers that need all or none take the others back.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { align, parseAttributes, textOf } from './attributes.ts'
import { KernelError } from './error.ts'
import {
  checked,
  closeFd,
  describeErrno,
  lastErrno,
  libcCalls,
  sendOnPool,
  waitReadable,
} from './ffi.ts'
import { homeNetns, inNetns, type Netns } from './netns.ts'

export const NETLINK_ROUTE = 0
export const NETLINK_NETFILTER = 12

export const NLM_F_REQUEST = 0x1
const NLM_F_ACK = 0x4
const NLM_F_DUMP_INTR = 0x10
export const NLM_F_DUMP = 0x300
export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400
const NLM_F_CAPPED = 0x100
const NLM_F_ACK_TLVS = 0x200
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const AF_NETLINK = 16
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0o2000000 | 0o4000
export const SOL_NETLINK = 270
const NETLINK_CAP_ACK = 10
const NETLINK_EXT_ACK = 11
const NETLINK_GET_STRICT_CHK = 12
const SOL_SOCKET = 1
const SO_SNDBUFFORCE = 32
const SO_RCVBUFFORCE = 33
const NLMSGERR_ATTR_MSG = 1
const MSG_DONTWAIT = 0x40
const EAGAIN = 11
const EINTR = 4
const messageHeaderBytes = 16
/** The kernel's largest dump chunk is 32 KiB; a reply is never cut. */
const receiveBytes = 64 << 10
/** Of a burst: thousands of messages, or a large nftables batch. */
const socketBufferBytes = 4 << 20
/** A message that is sent ahead is on its way within microseconds, unless the kernel hangs. */
const aheadTimeoutMs = 10_000
/** How often a dump that the kernel reports as inconsistent is started again. */
const dumpAttemptsMax = 8

export interface NetlinkMessage {
  readonly type: number
  /** Beside REQUEST and ACK, which are added. */
  readonly flags?: number
  /** The family's fixed header, then attributes. */
  readonly body: readonly Buffer[]
  /** For the error's sentence: `create bridge br-0123`. */
  readonly attempted: string
}

/** A message from the kernel: type and everything behind the 16-byte header. */
export interface NetlinkReply {
  readonly type: number
  readonly body: Buffer
}

/** Message types as the kernel's headers call them, for errors. */
const messageNames: Readonly<Record<number, string>> = {
  16: 'RTM_NEWLINK',
  17: 'RTM_DELLINK',
  18: 'RTM_GETLINK',
  19: 'RTM_SETLINK',
  20: 'RTM_NEWADDR',
  21: 'RTM_DELADDR',
  22: 'RTM_GETADDR',
  24: 'RTM_NEWROUTE',
  25: 'RTM_DELROUTE',
  26: 'RTM_GETROUTE',
  28: 'RTM_NEWNEIGH',
  29: 'RTM_DELNEIGH',
  30: 'RTM_GETNEIGH',
  32: 'RTM_NEWRULE',
  33: 'RTM_DELRULE',
  34: 'RTM_GETRULE',
  257: 'IPCTNL_MSG_CT_GET',
  258: 'IPCTNL_MSG_CT_DELETE',
  261: 'IPCTNL_MSG_CT_GET_STATS',
}

let sequence = 0
/** The kernel echoes 32 bits; one bit less keeps it clear of signs. */
const sequenceMax = 0x7fffffff
const scratch = Buffer.alloc(receiveBytes)

export class NetlinkSocket {
  readonly fd: number
  #open = true

  private constructor(fd: number) {
    this.fd = fd
  }

  /** Opens a socket in `ns`; to be closed by the caller. */
  static open(ns: Netns, protocol: number): NetlinkSocket {
    const attempted = 'open a netlink socket'
    const open = () => libcCalls.socket(AF_NETLINK, SOCK_RAW_CLOEXEC_NONBLOCK, protocol)
    const fd = inNetns(ns, () => checked(open(), 'socket', attempted))
    const socket = new NetlinkSocket(fd)
    // Older kernels lack some of these; without them messages are poorer and dumps unfiltered.
    for (const option of [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK]) {
      socket.setOption(SOL_NETLINK, option, 1)
    }
    socket.setOption(SOL_SOCKET, SO_SNDBUFFORCE, socketBufferBytes)
    socket.setOption(SOL_SOCKET, SO_RCVBUFFORCE, socketBufferBytes)
    return socket
  }

  /** Whether the kernel took the option. */
  setOption(level: number, name: number, value: number): boolean {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value)
    return libcCalls.setsockopt(this.fd, level, name, bytes, 4) === 0
  }

  close(): void {
    if (this.#open) closeFd(this.fd)
    this.#open = false
  }

  /** Sends all in one call; one outcome for each, in order: undefined, or what was refused. */
  send(messages: readonly NetlinkMessage[]): readonly (KernelError | undefined)[] {
    if (messages.length === 0) return []
    const { bytes, first } = encodeMessages(messages)
    const sent = libcCalls.send(this.fd, bytes, bytes.length, 0)
    checked(sent, 'send', messages[0]?.attempted ?? 'send to netlink')
    return this.#readAcks(messages, first)
  }

  /** `send` from a pool thread, for what makes the kernel wait for a grace period. */
  async sendSlowly(
    messages: readonly NetlinkMessage[],
  ): Promise<readonly (KernelError | undefined)[]> {
    if (messages.length === 0) return []
    const { bytes, first } = encodeMessages(messages)
    const sent = await sendOnPool(this.fd, bytes)
    if (sent !== bytes.length) throw new KernelError('send', 0, 'send to netlink', 'not sent')
    return this.#readAcks(messages, first)
  }

  /**
   * `send` from a pool thread while this one does something else; the answer waits for the
   * outcomes. To be called at once: nobody else may use the socket meanwhile.
   */
  sendAhead(
    messages: readonly NetlinkMessage[],
  ): () => readonly (KernelError | undefined)[] {
    const { bytes, first } = encodeMessages(messages)
    sendOnPool(this.fd, bytes).then(
      (sent) => {
        if (sent !== bytes.length) log.error('a netlink message was not sent', { sent })
      },
      (error: unknown) => log.error('a netlink message was not sent', { error: messageOf(error) }),
    )
    return () => this.#readAcks(messages, first, aheadTimeoutMs)
  }

  /** Sends and throws the first refusal. */
  request(...messages: readonly NetlinkMessage[]): void {
    for (const outcome of this.send(messages)) if (outcome !== undefined) throw outcome
  }

  /** One question, one reply. */
  get(message: NetlinkMessage): NetlinkReply {
    const wanted = this.#ask(message, 0)
    for (const part of this.#receive(message.attempted)) {
      if (part.sequence !== wanted) continue
      if (part.type === NLMSG_ERROR) throw ackError(part, message) ?? noAnswer(message)
      return part
    }
    throw noAnswer(message)
  }

  /** Everything of a kind; starts again when the kernel says that it changed underneath. */
  dump(message: NetlinkMessage): readonly NetlinkReply[] {
    for (let attempt = 1; ; attempt++) {
      const found = this.#dumpOnce(message)
      if (found !== 'interrupted') return found
      if (attempt === dumpAttemptsMax) {
        const reason = `it changed ${dumpAttemptsMax} times while it was listed`
        throw new KernelError(nameOf(message), EINTR, message.attempted, reason)
      }
    }
  }

  #dumpOnce(message: NetlinkMessage): readonly NetlinkReply[] | 'interrupted' {
    const wanted = this.#ask(message, NLM_F_DUMP)
    const found: NetlinkReply[] = []
    let interrupted = false
    for (;;) {
      const parts = this.#receive(message.attempted)
      if (parts.length === 0) throw noAnswer(message)
      for (const part of parts) {
        if (part.sequence !== wanted) continue
        if ((part.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true
        if (part.type === NLMSG_ERROR) throw ackError(part, message) ?? noAnswer(message)
        if (part.type !== NLMSG_DONE) {
          found.push(part)
          continue
        }
        const errno = part.body.length >= 4 ? -part.body.readInt32LE() : 0
        if (errno === EINTR) return 'interrupted'
        if (errno > 0) throw errorOf(errno, '', message)
        return interrupted ? 'interrupted' : found
      }
    }
  }

  #ask(message: NetlinkMessage, flags: number): number {
    const bytes = encodeMessage(message, NLM_F_REQUEST | flags | (message.flags ?? 0))
    checked(libcCalls.send(this.fd, bytes, bytes.length, 0), 'send', message.attempted)
    return sequence
  }

  #readAcks(
    messages: readonly NetlinkMessage[],
    first: number,
    timeoutMs = 0,
  ): readonly (KernelError | undefined)[] {
    const outcomes = new Array<KernelError | undefined>(messages.length)
    let missing = messages.length
    while (missing > 0) {
      if (timeoutMs > 0) waitReadable(this.fd, timeoutMs)
      const parts = this.#receive(messages[0]?.attempted ?? '')
      if (parts.length === 0) throw noAnswer(messages[messages.length - missing])
      for (const part of parts) {
        const message = messages[part.sequence - first]
        if (part.type !== NLMSG_ERROR || message === undefined) continue
        outcomes[part.sequence - first] = ackError(part, message)
        missing--
      }
    }
    return outcomes
  }

  /** The messages of one datagram; none when nothing waits. */
  #receive(attempted: string): readonly Part[] {
    const length = libcCalls.recv(this.fd, scratch, scratch.length, MSG_DONTWAIT)
    if (length < 0 && lastErrno() === EAGAIN) return []
    checked(length, 'recv', attempted)
    return decodeMessages(Buffer.from(scratch.subarray(0, length)))
  }
}

/** Runs `use` with a socket of `ns` and closes it. */
export function withNetlink<T>(ns: Netns, protocol: number, use: (socket: NetlinkSocket) => T): T {
  const socket = NetlinkSocket.open(ns, protocol)
  try {
    return use(socket)
  } finally {
    socket.close()
  }
}

interface Held {
  holders: number
  /** Absent while in use, and until it is needed. */
  socket: NetlinkSocket | undefined
}

/** Route sockets that stay open between uses, by inode: home's for ever. */
const held = new Map<number, Held>()

/**
 * Until the answer is called, all who use a route socket in `ns` share one. The namespace lives as
 * long: for the time of one change.
 */
export function holdRoute(ns: Netns): () => void {
  const here = held.get(ns.inode) ?? { holders: 0, socket: undefined }
  here.holders++
  held.set(ns.inode, here)
  return () => {
    if (--here.holders > 0) return
    here.socket?.close()
    held.delete(ns.inode)
  }
}

/** Runs `use`, which is synchronous, with a route socket in `ns`: one request or burst. */
export function withRoute<T>(ns: Netns, use: (socket: NetlinkSocket) => T): T {
  const home = homeNetns()
  if (!held.has(home.inode)) holdRoute(home)
  const here = held.get(ns.inode)
  if (here === undefined) return withNetlink(ns, NETLINK_ROUTE, use)
  const socket = here.socket ?? NetlinkSocket.open(ns, NETLINK_ROUTE)
  here.socket = undefined
  let clean = false
  try {
    const result = use(socket)
    clean = here.socket === undefined
    return result
  } finally {
    // After a failure answers may still be on their way: nobody shall take them for his own.
    if (clean) here.socket = socket
    else socket.close()
  }
}

interface Part extends NetlinkReply {
  readonly flags: number
  readonly sequence: number
}

/** All messages behind one another, with consecutive sequence numbers from `first`. */
function encodeMessages(messages: readonly NetlinkMessage[]): {
  readonly bytes: Buffer
  readonly first: number
} {
  if (sequence + messages.length > sequenceMax) sequence = 0
  const first = sequence + 1
  const parts = messages.map((message) =>
    encodeMessage(message, NLM_F_REQUEST | NLM_F_ACK | (message.flags ?? 0)),
  )
  return { bytes: Buffer.concat(parts), first }
}

/** The bytes of one message with the next sequence number. */
function encodeMessage(message: NetlinkMessage, flags: number): Buffer {
  const length = message.body.reduce((sum, part) => sum + part.length, messageHeaderBytes)
  const header = Buffer.alloc(messageHeaderBytes)
  sequence = sequence < sequenceMax ? sequence + 1 : 1
  header.writeUInt32LE(length)
  header.writeUInt16LE(message.type, 4)
  header.writeUInt16LE(flags, 6)
  header.writeUInt32LE(sequence, 8)
  return Buffer.concat([header, ...message.body], align(length))
}

/** Splits a datagram into messages. */
export function decodeMessages(bytes: Buffer): readonly Part[] {
  const parts: Part[] = []
  let offset = 0
  while (offset + messageHeaderBytes <= bytes.length) {
    const length = bytes.readUInt32LE(offset)
    if (length < messageHeaderBytes || offset + length > bytes.length) break
    parts.push({
      type: bytes.readUInt16LE(offset + 4),
      flags: bytes.readUInt16LE(offset + 6),
      sequence: bytes.readUInt32LE(offset + 8),
      body: bytes.subarray(offset + messageHeaderBytes, offset + length),
    })
    offset += align(length)
  }
  return parts
}

function ackError(part: Part, message: NetlinkMessage): KernelError | undefined {
  const errno = -part.body.readInt32LE()
  if (errno === 0) return undefined
  let words = ''
  if ((part.flags & NLM_F_ACK_TLVS) !== 0) {
    const isCapped = (part.flags & NLM_F_CAPPED) !== 0
    const echoed = isCapped ? messageHeaderBytes : part.body.readUInt32LE(4)
    words = textOf(parseAttributes(part.body.subarray(4 + align(echoed))).get(NLMSGERR_ATTR_MSG))
  }
  return errorOf(errno, words, message)
}

function errorOf(errno: number, words: string, message: NetlinkMessage): KernelError {
  const plain = describeErrno(errno)
  const reason = words === '' ? plain : words.replace(/\.$/, '')
  return new KernelError(nameOf(message), errno, message.attempted, reason)
}

function noAnswer(message: NetlinkMessage | undefined): KernelError {
  const attempted = message?.attempted ?? 'netlink request'
  return new KernelError(nameOf(message), 0, attempted, 'the kernel did not answer')
}

function nameOf(message: NetlinkMessage | undefined): string {
  return messageNames[message?.type ?? 0] ?? `netlink message ${message?.type ?? 0}`
}
