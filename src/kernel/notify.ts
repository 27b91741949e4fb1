/** Tells the service manager how we are (sd_notify): one datagram to the socket that it named. */
import { closeFd, checked, libcCalls } from './ffi.ts'

const AF_UNIX = 1
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000

/** @param socketPath NOTIFY_SOCKET: a path, or `@name` for an abstract one */
export function notify(socketPath: string, message: string): void {
  const name = Buffer.from(socketPath.startsWith('@') ? `\0${socketPath.slice(1)}` : socketPath)
  const address = Buffer.alloc(2 + name.length)
  address.writeUInt16LE(AF_UNIX, 0)
  name.copy(address, 2)
  const attempted = `notify ${socketPath}`
  const fd = checked(libcCalls.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0), 'socket', attempted)
  try {
    const data = Buffer.from(message)
    checked(
      libcCalls.sendto(fd, data, data.length, 0, address, address.length),
      'sendto',
      attempted,
    )
  } finally {
    closeFd(fd)
  }
}
