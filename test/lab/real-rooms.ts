/** A network room with the firewall and keeper that the daemon makes, and web servers in it. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { nftAccess, tableAccess } from '../../src/firewall/access.ts'
import type { Firewall } from '../../src/firewall/intent.ts'
import { IptablesBackend } from '../../src/firewall/iptables.ts'
import { NftablesBackend } from '../../src/firewall/nftables.ts'
import { FirewallWriter } from '../../src/firewall/writer.ts'
import { startKeeper, type KeeperConnection } from '../../src/keeper/connection.ts'
import { homeNetns } from '../../src/kernel/netns.ts'
import type { Forwarding } from '../../src/network/forwarding.ts'
import { run, type RealRooms } from './network-lab.ts'
import type { Sandbox } from '../../src/network/model.ts'

/** Ended with the test file. */
export const children: ChildProcess[] = []
const keepers: KeeperConnection[] = []
after(async () => {
  for (const child of children) child.kill('SIGKILL')
  for (const keeper of keepers) await keeper.stop()
})

export type BackendName = 'iptables' | 'nftables'

const always = { allowDirectRouting: false, sharedChains: false }

function realFirewall(
  forwarding: Forwarding,
  userlandProxy: boolean,
  name: BackendName,
  ipv6: boolean,
): Firewall {
  const settings = { ...always, ipv4: true, ipv6, userlandProxy }
  const dropForwarding = (family: 4 | 6) => forwarding.switchedByUs(family)
  if (name === 'nftables') {
    const access = nftAccess(homeNetns())
    return new FirewallWriter(new NftablesBackend({ settings, access, dropForwarding }))
  }
  const former = { get: () => undefined, set: async () => undefined }
  const options = { settings, access: tableAccess(), dropForwarding, former }
  return new FirewallWriter(new IptablesBackend(options))
}

/** The firewall and the keeper as the daemon makes them. */
export function realRooms(
  userlandProxy = true,
  backend: BackendName = 'iptables',
  ipv6 = true,
): RealRooms {
  return {
    firewall: (_store, forwarding) => realFirewall(forwarding, userlandProxy, backend, ipv6),
    keeper: async (folder) => {
      const keeper = await startKeeper({
        socketPath: join(folder, 'k.sock'),
        logPath: join(folder, 'k.log'),
        pidPath: join(folder, 'k.pid'),
      })
      keepers.push(keeper)
      return keeper
    },
  }
}

/** A web server inside a sandbox that answers `text`. */
export async function serve(sandbox: Sandbox, text: string, port = 80): Promise<void> {
  const folder = join(sandbox.spec.filesDir, 'www')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'index.html'), `${text}\n`)
  const httpd = ['busybox', 'httpd', '-f', '-p', String(port), '-h', folder]
  children.push(spawn('nsenter', ['--net=' + sandbox.netnsPath, ...httpd], { stdio: 'ignore' }))
  for (let tries = 0; tries < 100; tries++) {
    if (new RegExp(`:${port}\\b`).test(run('ss -Hltn', sandbox.netnsPath))) return
    await sleep(20)
  }
  assert.fail('the web server did not start')
}

/** What a web server answers; throws when it does not. */
export const fetched = (url: string, netns = '') => run(`curl -gs -m 3 ${url}`, netns).trim()
