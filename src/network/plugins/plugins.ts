/**
 * The plugins that this engine talks to: found by name, activated once, asked what they can do.
 * A plugin that cannot be reached any more is looked for and activated anew at the next question.
 */
import { Refusal } from '../../base/refusal.ts'
import { callPlugin, PluginSilent, type Answer, type Patience } from './client.ts'
import { findPlugin, textOf, type PluginAddress, type PluginFolders } from './discovery.ts'

export type PluginKind = 'NetworkDriver' | 'IpamDriver'

/** So long after waiting for a plugin in vain, nobody else waits who only takes things down. */
const silentForMs = 5_000

interface Active {
  readonly address: PluginAddress
  readonly kinds: ReadonlySet<string>
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

  /** Refuses, in Docker's words, when there is no plugin of that name and kind. */
  async require(name: string, kind: PluginKind, how: Patience = 'patient'): Promise<void> {
    await this.#find(name, kind, how)
  }

  /** Calls a method of the plugin's service `kind`. */
  async call(
    name: string,
    kind: PluginKind,
    method: string,
    body?: unknown,
    how: Patience = 'patient',
  ): Promise<Answer> {
    const silentMs = performance.now() - (this.#silentAtMs.get(name) ?? -Infinity)
    const patience = how === 'hasty' && silentMs < silentForMs ? 'none' : how
    try {
      const { address } = await this.#find(name, kind, patience)
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

  async #find(name: string, kind: PluginKind, how: Patience): Promise<Active> {
    let starting = this.#active.get(name)
    if (starting === undefined) {
      starting = this.#activate(name, how)
      this.#active.set(name, starting)
      starting.catch(() => this.#active.delete(name))
    }
    const active = await starting
    if (!active.kinds.has(kind)) {
      const sentence = `plugin="${name}", requested implementation="${kind}"`
      throw new Refusal('internal', `Plugin does not implement the requested driver: ${sentence}`)
    }
    return active
  }

  async #activate(name: string, how: Patience): Promise<Active> {
    const address = findPlugin(name, this.#folders)
    if (address === undefined) throw new Refusal('notFound', `plugin "${name}" not found`)
    const manifest = await callPlugin(address, 'Plugin.Activate', undefined, how)
    const implemented = manifest.get('Implements')
    const kinds = new Set(Array.isArray(implemented) ? implemented.map(textOf) : [])
    if (kinds.has('NetworkDriver')) this.#networkNames.add(name)
    return { address, kinds }
  }
}
