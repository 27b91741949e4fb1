/**
 * The plugins that this engine talks to: found by name, activated once, asked what they can do.
 * A plugin that cannot be reached any more is looked for and activated anew at the next question.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { log } from '../../base/log.ts'
import { messageOf, Refusal, wrap } from '../../base/refusal.ts'
import type { Answer } from './answer.ts'
import { brief, callPlugin, hasty, patient, PluginSilent, type Patience } from './client.ts'
import { findPlugin, type PluginAddress, type PluginFolders } from './discovery.ts'

export type PluginKind = 'NetworkDriver' | 'IpamDriver'

export interface NetworkCapabilities {
  readonly scope: 'local' | 'global'
  /** Asked before a network is made whether it wants gateway addresses at all. */
  readonly gwAllocChecker: boolean
}

export interface IpamCapabilities {
  /** Each address is asked for with the MAC of its endpoint. */
  readonly requiresMac: boolean
  /** It forgets what it gave out: a daemon that starts says it again. */
  readonly requiresReplay: boolean
}

/** So long after waiting for a plugin in vain, nobody else waits who only takes things down. */
const silentForMs = 5_000

interface Active {
  readonly address: PluginAddress
  readonly kinds: ReadonlySet<string>
  /** undefined when it is no network driver, or one that does not say what it can. */
  readonly network: NetworkCapabilities | undefined
  readonly ipam: IpamCapabilities
}

export class Plugins {
  readonly #folders: PluginFolders
  readonly #active = new Map<string, Promise<Active>>()
  readonly #silentAtMs = new Map<string, number>()
  readonly #networkNames = new Set<string>()

  constructor(folders: PluginFolders) {
    this.#folders = folders
  }

  /** Names of the network plugins that were activated. */
  get networkNames(): readonly string[] {
    return [...this.#networkNames].sort()
  }

  /**
   * What a network driver can. Refuses, in Docker's words, when there is none of that name, or none
   * that can be used; a name that nobody has is not waited for, for a user may have mistyped it.
   */
  async networkDriver(name: string): Promise<NetworkCapabilities> {
    const { network } = await this.#find(name, 'NetworkDriver', patient, false)
    if (network !== undefined) return network
    this.#active.delete(name)
    throw new Refusal('internal', `could not resolve driver ${name} in registry`)
  }

  /** The same for a driver of addresses. */
  async ipamDriver(name: string, how: Patience = patient): Promise<IpamCapabilities> {
    return (await this.#find(name, 'IpamDriver', how, false)).ipam
  }

  /** Calls a method of the plugin's service `kind`. */
  async call(
    name: string,
    kind: PluginKind,
    method: string,
    body?: unknown,
    how: Patience = patient,
  ): Promise<Answer> {
    const silentMs = performance.now() - (this.#silentAtMs.get(name) ?? -Infinity)
    const patience = how === hasty && silentMs < silentForMs ? brief : how
    try {
      const { address } = await this.#find(name, kind, patience, true)
      const answer = await callPlugin(address, `${kind}.${method}`, body, patience)
      this.#silentAtMs.delete(name)
      return answer
    } catch (error) {
      if (error instanceof PluginSilent) {
        this.#active.delete(name)
        this.#silentAtMs.set(name, performance.now())
      }
      throw error
    }
  }

  /** @param waits whether one that is nowhere yet is waited for, too */
  async #find(name: string, kind: PluginKind, how: Patience, waits: boolean): Promise<Active> {
    let starting = this.#active.get(name)
    if (starting === undefined) {
      starting = this.#activate(name, how, waits)
      this.#active.set(name, starting)
      starting.catch(() => this.#active.delete(name))
    }
    const active = await starting
    if (!active.kinds.has(kind)) {
      const sentence = `plugin="${name}", requested implementation="${kind}"`
      const wrong = 'legacy plugin: Plugin does not implement the requested driver'
      throw new Refusal('internal', `${wrong}: ${sentence}`)
    }
    return active
  }

  async #activate(name: string, how: Patience, waits: boolean): Promise<Active> {
    const address = await this.#locate(name, waits ? how.pausesMs : [])
    const kinds = await activate(address, how)
    const network = kinds.has('NetworkDriver') ? await askNetwork(name, address, how) : undefined
    const ipam = kinds.has('IpamDriver') ? await askIpam(name, address, how) : forgetful
    if (network !== undefined) this.#networkNames.add(name)
    return { address, kinds, network, ipam }
  }

  async #locate(name: string, pausesMs: readonly number[]): Promise<PluginAddress> {
    for (let tries = 0; ; tries++) {
      const address = findPlugin(name, this.#folders)
      if (address !== undefined) return address
      const pauseMs = pausesMs[tries]
      if (pauseMs === undefined) throw new Refusal('notFound', `plugin "${name}" not found`)
      await pause(pauseMs)
    }
  }
}

async function activate(address: PluginAddress, how: Patience): Promise<ReadonlySet<string>> {
  try {
    const manifest = await callPlugin(address, 'Plugin.Activate', undefined, how)
    return new Set(manifest.texts('Implements'))
  } catch (error) {
    if (error instanceof PluginSilent) throw new PluginSilent(`legacy plugin: ${error.message}`)
    throw wrap('legacy plugin: ', error)
  }
}

/** Like Docker's engine, which keeps drivers that answer badly out of its registry. */
async function askNetwork(
  name: string,
  address: PluginAddress,
  how: Patience,
): Promise<NetworkCapabilities | undefined> {
  try {
    const answer = await callPlugin(address, 'NetworkDriver.GetCapabilities', undefined, how)
    const scope = scopeOf(answer.text('Scope'))
    const connectivity = answer.text('ConnectivityScope')
    // Of clusters: checked, for a plugin that says something else is broken, and not used.
    if (connectivity !== '') scopeOf(connectivity)
    return { scope, gwAllocChecker: answer.flag('GwAllocChecker') }
  } catch (error) {
    if (error instanceof PluginSilent) throw error
    log.error('a network plugin has no capabilities', { plugin: name, error: messageOf(error) })
    return undefined
  }
}

function scopeOf(text: string): 'local' | 'global' {
  if (text === 'local' || text === 'global') return text
  const sentence = `invalid capability: expecting 'local' or 'global', got ${text}`
  throw new Refusal('internal', sentence)
}

const forgetful: IpamCapabilities = { requiresMac: false, requiresReplay: false }

async function askIpam(
  name: string,
  address: PluginAddress,
  how: Patience,
): Promise<IpamCapabilities> {
  try {
    const answer = await callPlugin(address, 'IpamDriver.GetCapabilities', undefined, how)
    const requiresMac = answer.flag('RequiresMACAddress')
    return { requiresMac, requiresReplay: answer.flag('RequiresRequestReplay') }
  } catch (error) {
    // Old plugins have none.
    if (error instanceof PluginSilent) throw error
    log.info('an IPAM plugin has no capabilities', { plugin: name, error: messageOf(error) })
    return forgetful
  }
}
