/**
 * Devices of a container: Docker's default access rules, --device (files and folders),
 * --device-cgroup-rule, and all of the host's for --privileged.
 */
import { lstatSync, readdirSync, realpathSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Refusal } from '../base/refusal.ts'
import type { HostConfig } from './config.ts'
import type { OciDevice, OciDeviceRule } from './oci.ts'

export interface Devices {
  readonly nodes: readonly OciDevice[]
  readonly rules: readonly OciDeviceRule[]
}

/** /dev holds few hundred nodes; this bounds a folder that is not /dev at all. */
const nodesMax = 8192

const character = (major: number, minor?: number): OciDeviceRule =>
  minor === undefined
    ? { allow: true, type: 'c', major, access: 'rwm' }
    : { allow: true, type: 'c', major, minor, access: 'rwm' }

/** null zero full random urandom tty console ptmx and ptys; others may be made, not used. */
const defaultRules: readonly OciDeviceRule[] = [
  { allow: false, access: 'rwm' },
  { allow: true, type: 'c', access: 'm' },
  { allow: true, type: 'b', access: 'm' },
  character(1, 3),
  character(1, 8),
  character(1, 7),
  character(5, 0),
  character(1, 5),
  character(1, 9),
  character(5, 1),
  character(136),
  character(5, 2),
]

/** What the container may see of the host's devices. */
export function devicesOf(hostConfig: HostConfig): Devices {
  const all: OciDeviceRule = { allow: true, access: 'rwm' }
  if (hostConfig.Privileged) return { nodes: nodesBelow('/dev', '/dev', true), rules: [all] }
  const nodes: OciDevice[] = []
  const rules = [...defaultRules]
  for (const mapping of hostConfig.Devices ?? []) {
    const inside = mapping.PathInContainer === '' ? mapping.PathOnHost : mapping.PathInContainer
    const access = mapping.CgroupPermissions === '' ? 'rwm' : mapping.CgroupPermissions
    for (const node of mappedNodes(mapping.PathOnHost, inside)) {
      nodes.push(node)
      rules.push({ allow: true, type: node.type, major: node.major, minor: node.minor, access })
    }
  }
  for (const rule of hostConfig.DeviceCgroupRules ?? []) rules.push(parseRule(rule))
  return { nodes, rules }
}

/** `c 42:* rwm`; refuses what is none. Used when a container is created, too. */
export function parseRule(text: string): OciDeviceRule {
  const parts = /^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$/.exec(text)
  if (parts === null) {
    throw new Refusal('invalid', `invalid device cgroup rule format: '${text}'`)
  }
  const [, type = '', major = '', minor = '', access = ''] = parts
  return {
    allow: true,
    type,
    ...(major === '*' ? {} : { major: Number(major) }),
    ...(minor === '*' ? {} : { minor: Number(minor) }),
    access,
  }
}

/** Major and minor of a device number, as makedev(3) packs them. */
export function splitDevice(rdev: number): { readonly major: number; readonly minor: number } {
  const device = BigInt(rdev)
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn)
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn & 0xffffffffn)
  return { major: Number(major), minor: Number(minor) }
}

function mappedNodes(onHost: string, inside: string): readonly OciDevice[] {
  const failed = (why: string) =>
    new Refusal(
      'internal',
      `error gathering device information while adding custom device "${onHost}": ${why}`,
    )
  const stat = statSync(onHost, { throwIfNoEntry: false })
  if (stat === undefined) throw failed('no such file or directory')
  const real = realpathSync(onHost)
  if (stat.isDirectory()) {
    const nodes = nodesBelow(real, inside, false)
    if (nodes.length === 0) throw failed('no devices found')
    return nodes
  }
  const node = nodeAt(real, inside)
  if (node === undefined) throw failed('not a device node')
  return [node]
}

function nodeAt(path: string, inside: string): OciDevice | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return undefined
  const type = stat.isCharacterDevice() ? 'c' : stat.isBlockDevice() ? 'b' : undefined
  if (type === undefined) return undefined
  const { major, minor } = splitDevice(stat.rdev)
  return {
    type,
    path: inside,
    major,
    minor,
    fileMode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
  }
}

/** Folders that are file systems of their own in a container. */
const skippedFolders = new Set([
  'pts',
  'shm',
  'fd',
  'mqueue',
  '.lxc',
  '.lxd-mounts',
  '.udev',
  'net',
])

function nodesBelow(folder: string, inside: string, skipConsole: boolean): readonly OciDevice[] {
  const nodes: OciDevice[] = []
  const visit = (path: string, shown: string): void => {
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (nodes.length >= nodesMax) return
      const child = join(path, entry.name)
      if (entry.isDirectory()) {
        if (!skippedFolders.has(entry.name)) visit(child, join(shown, entry.name))
        continue
      }
      if (skipConsole && ['console', 'ptmx', 'tty'].includes(entry.name)) continue
      const node = nodeAt(child, join(shown, entry.name))
      if (node !== undefined) nodes.push(node)
    }
  }
  visit(folder, inside)
  return nodes
}
