/** Device files. */
import { chmodSync, constants } from 'node:fs'
import { checked, mknodCall } from './ffi.ts'

export interface DeviceNumber {
  readonly kind: 'character' | 'block'
  readonly major: number
  readonly minor: number
}

/** Makes one with exactly this mode, whatever the umask says. */
export function makeDevice(path: string, mode: number, { kind, major, minor }: DeviceNumber): void {
  const type = kind === 'character' ? constants.S_IFCHR : constants.S_IFBLK
  const [high, low] = [BigInt(major), BigInt(minor)]
  const device =
    ((high & 0xfffn) << 8n) | ((high & ~0xfffn) << 32n) | (low & 0xffn) | ((low & ~0xffn) << 12n)
  checked(mknodCall(path, type | mode, device), 'mknod', `make device ${path}`)
  chmodSync(path, mode)
}
