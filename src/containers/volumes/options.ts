/**
 * The local driver's options, `type`, `o` and `device`: what mount(8) takes as -t, -o and the
 * device. Everything that can be refused is refused before the volume is made.
 */
import { mkdirSync } from 'node:fs'
import { KernelError } from '../../kernel/error.ts'
import { isMountPoint, mount, unmountAll } from '../../kernel/mount.ts'
import { messageOf, Refusal } from '../../base/refusal.ts'

type Options = Readonly<Record<string, string>>

const known = ['type', 'o', 'device', 'size']
/** An option → what must stand beside it. */
const needs: Readonly<Record<string, readonly string[]>> = {
  device: ['type'],
  type: ['device'],
  o: ['device', 'type'],
}
/** These need a helper program in user space and names resolved at every mount. */
const network = ['nfs', 'nfs4', 'cifs', 'smb3']

/** Refuses what this driver cannot do. */
export function checkVolumeOptions(name: string, options: Options): void {
  const refuse = (why: string) => new Refusal('invalid', `create ${name}: ${why}`)
  for (const option of Object.keys(options)) {
    if (!known.includes(option)) throw refuse(`invalid option: "${option}"`)
  }
  if (options['size'] !== undefined) throw refuse('quota size requested but no quota support')
  for (const [option, required] of Object.entries(needs)) {
    if (options[option] === undefined) continue
    const missing = required.find((other) => options[other] === undefined)
    if (missing !== undefined) throw refuse(`missing required option: "${missing}"`)
  }
  const type = options['type'] ?? ''
  if (network.includes(type)) {
    throw refuse(
      `volumes of type ${type} are not offered: mount the share on the host, then use ` +
        'type=none, o=bind and its path as device',
    )
  }
}

/** True if the volume's data is somewhere else and must be mounted while in use. */
export function needsMount(options: Options | null): boolean {
  return (options?.['device'] ?? '') !== ''
}

/** Mounts at `mountpoint` unless it is mounted. */
export function mountVolume(mountpoint: string, options: Options): void {
  if (isMountPoint(mountpoint)) return
  mkdirSync(mountpoint, { recursive: true })
  const type = options['type'] ?? ''
  const device = options['device'] ?? ''
  try {
    mount({
      type,
      source: device,
      target: mountpoint,
      options: (options['o'] ?? '').split(',').filter((option) => option !== ''),
    })
  } catch (error) {
    const why = error instanceof KernelError ? error.reason : messageOf(error)
    const what = `mount ${device}:${mountpoint}, data: ${options['o'] ?? ''}`
    const text = `failed to mount local volume: ${what}: ${why}`
    throw new Refusal('internal', text, { cause: error })
  }
}

export function unmountVolume(mountpoint: string): void {
  if (isMountPoint(mountpoint)) unmountAll(mountpoint)
}
