/** Which of a multi-platform image's manifests runs here. */
import { arch } from 'node:os'
import { Refusal } from '../../base/refusal.ts'
import type { Index, Platform } from './documents.ts'

const goNames: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  arm64: 'arm64',
  arm: 'arm',
  ppc64: 'ppc64le',
  s390x: 's390x',
  riscv64: 'riscv64',
  loong64: 'loong64',
}

/** This machine, in Go's words. */
export function machinePlatform(): Platform {
  const architecture = goNames[arch()] ?? arch()
  return { os: 'linux', architecture, variant: architecture === 'arm' ? 'v7' : '' }
}

/** `linux/arm64/v8`, `arm64` or ''; refuses what is none. */
export function parsePlatform(text: string): Platform | undefined {
  if (text === '') return undefined
  const words = text.toLowerCase().split('/')
  if (words.length > 3 || words.some((word) => !/^[a-z0-9_.-]+$/.test(word))) {
    throw new Refusal(
      'invalid',
      `"${text}" is an invalid component of a platform: use os/arch[/variant]`,
    )
  }
  const [first = '', second = '', variant = ''] = words
  if (words.length > 1) return { os: first, architecture: normalArchitecture(second), variant }
  const machine = machinePlatform()
  return first === 'linux'
    ? machine
    : { os: 'linux', architecture: normalArchitecture(first), variant: '' }
}

function normalArchitecture(word: string): string {
  const other: Readonly<Record<string, string>> = {
    x86_64: 'amd64',
    'x86-64': 'amd64',
    aarch64: 'arm64',
    i386: '386',
    armhf: 'arm',
  }
  return other[word] ?? word
}

export function platformName({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter((word) => word !== '').join('/')
}

/** Whether an image of this platform is of the one that is wanted. */
export function isOfPlatform({ os, architecture }: Platform, wanted: Platform): boolean {
  return os === wanted.os && architecture === wanted.architecture
}

/** Refuses an image of another platform. Clients answer 404 by pulling that of the right one. */
export function requirePlatform(
  reference: string,
  { os, architecture }: Platform,
  wanted: Platform | undefined,
): void {
  if (wanted === undefined || isOfPlatform({ os, architecture, variant: '' }, wanted)) return
  throw new Refusal(
    'notFound',
    `image with reference ${reference} was found but its platform (${os}/${architecture}) does ` +
      `not match the specified platform (${platformName(wanted)})`,
  )
}

/** The entry for `wanted`; an exact variant before none before another. */
export function pickPlatform(index: Index, wanted: Platform): Index['entries'][number] {
  const fitting = index.entries.filter(
    ({ platform }) =>
      platform?.os === wanted.os &&
      normalArchitecture(platform.architecture) === wanted.architecture,
  )
  const best = [...fitting].sort((a, b) => rank(a.platform, wanted) - rank(b.platform, wanted))[0]
  if (best === undefined) {
    const text = `no matching manifest for ${platformName(wanted)} in the manifest list entries`
    throw new Refusal('notFound', text)
  }
  return best
}

function rank(platform: Platform | undefined, wanted: Platform): number {
  const variant = platform?.variant ?? ''
  if (variant === wanted.variant) return 0
  // arm64 entries say v8 or nothing: both mean the same.
  if (variant === '' || (wanted.variant === '' && variant === 'v8')) return 1
  return 2
}
