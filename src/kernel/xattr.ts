/**
 * Extended attributes of files: read of an open one, set by path, where a link at the end is not
 * followed. Values are bytes.
 */
import { checked, kernelError, lastErrno, libcCalls } from './ffi.ts'

/** The kernel's own bound on a value. */
const valueBytesMax = 64 * 1024
/** The calls do not wait, so one room serves them all. */
const room = Buffer.alloc(valueBytesMax)
const ENODATA = 61
const EOPNOTSUPP = 95

/** Undefined where the file has none of this name, or its file system none at all. */
export function getXattr(fd: number, name: string): Buffer | undefined {
  const length = libcCalls.fgetxattr(fd, name, room, room.length)
  if (length >= 0) return Buffer.from(room.subarray(0, length))
  const errno = lastErrno()
  if (errno === ENODATA || errno === EOPNOTSUPP) return undefined
  throw kernelError('fgetxattr', errno, `read ${name} of an open file`)
}

export function setXattr(path: string, name: string, value: Buffer): void {
  const result = libcCalls.lsetxattr(path, name, value, value.length, 0)
  checked(result, 'lsetxattr', `set ${name} of ${path}`)
}
