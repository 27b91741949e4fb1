/**
 * `--user` looked up in the image's own passwd and group files, in Docker's way: names or
 * numbers, `user:group`, additional groups by membership and by --group-add.
 */
import { Refusal } from '../base/refusal.ts'
import { readInside } from './rooted-path.ts'
import type { Root } from './rooted-path.ts'

export interface ProcessUser {
  readonly uid: number
  readonly gid: number
  readonly additionalGids: readonly number[]
  readonly home: string
}

interface PasswdEntry {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly home: string
}

interface GroupEntry {
  readonly name: string
  readonly gid: number
  readonly members: readonly string[]
}

const idMax = 2 ** 31 - 1

/** @param spec Config.User or an exec's User */
export function lookUpUser(root: Root, spec: string, groupAdd: readonly string[]): ProcessUser {
  const [userPart = '', groupPart = ''] = spec.split(':')
  const passwd = parsePasswd(readInside(root, '/etc/passwd') ?? '')
  const groups = parseGroups(readInside(root, '/etc/group') ?? '')
  const user = findUser(passwd, userPart)
  let gid = user.gid
  let additional: readonly number[] = []
  if (groupPart !== '') gid = findGroup(groups, groupPart, 'unable')
  else if (user.name !== '') {
    additional = groups
      .filter((group) => group.members.includes(user.name))
      .map((group) => group.gid)
  }
  const added = groupAdd.map((group) => findGroup(groups, group, 'Unable'))
  // The main group is listed among the additional ones too, as the engine does.
  const gids = [...new Set([gid, ...additional, ...added])]
  return { uid: user.uid, gid, additionalGids: gids, home: user.home }
}

function findUser(passwd: readonly PasswdEntry[], part: string): PasswdEntry {
  const wanted = part === '' ? '0' : part
  const uid = /^\d+$/.test(wanted) ? Number(wanted) : undefined
  const entry = passwd.find((candidate) => candidate.name === wanted || candidate.uid === uid)
  if (entry !== undefined) return entry
  if (uid === undefined) {
    throw new Refusal(
      'internal',
      `unable to find user ${wanted}: no matching entries in passwd file`,
    )
  }
  checkRange(uid)
  return { name: '', uid, gid: 0, home: '/' }
}

/** @param unable with a capital or without, as Docker has it for one option and the other */
function findGroup(
  groups: readonly GroupEntry[],
  part: string,
  unable: 'unable' | 'Unable',
): number {
  const byName = groups.find((group) => group.name === part)
  if (byName !== undefined) return byName.gid
  if (!/^\d+$/.test(part)) {
    throw new Refusal('internal', `${unable} to find group ${part}: no matching entries in group file`)
  }
  checkRange(Number(part))
  return Number(part)
}

function checkRange(id: number): void {
  if (id > idMax) {
    throw new Refusal('internal', `uids and gids must be in range 0-${idMax}`)
  }
}

function parsePasswd(text: string): readonly PasswdEntry[] {
  const entries: PasswdEntry[] = []
  for (const line of text.split('\n')) {
    const [name, , uid, gid, , home] = line.trim().split(':')
    if (name === undefined || name === '' || !/^\d+$/.test(uid ?? '') || !/^\d+$/.test(gid ?? ''))
      continue
    entries.push({
      name,
      uid: Number(uid),
      gid: Number(gid),
      home: home === undefined || home === '' ? '/' : home,
    })
  }
  return entries
}

function parseGroups(text: string): readonly GroupEntry[] {
  const entries: GroupEntry[] = []
  for (const line of text.split('\n')) {
    const [name, , gid, members] = line.trim().split(':')
    if (name === undefined || name === '' || !/^\d+$/.test(gid ?? '')) continue
    entries.push({
      name,
      gid: Number(gid),
      members: (members ?? '').split(',').filter((m) => m !== ''),
    })
  }
  return entries
}
