/**
 * What firewalld must know for containers to be reached: the zone `docker` and the policy
 * `docker-forwarding`, both permanent, and which bridge belongs to which zone.
 *
 * A bridge that the user put into a zone, permanently or for now, stays (or comes) there.
 */
import { log } from '../../base/log.ts'
import { BusError, type Bus, type BusTarget } from './bus.ts'
import { listOf, type Message, type Value } from './wire.ts'

const name = 'org.fedoraproject.FirewallD1'
const path = '/org/fedoraproject/FirewallD1'
const main: BusTarget = { destination: name, path, interface: name }
const zones: BusTarget = { ...main, interface: `${name}.zone` }
const permanent: BusTarget = {
  destination: name,
  path: `${path}/config`,
  interface: `${name}.config`,
}
const zoneName = 'docker'
const policyName = 'docker-forwarding'

const text = (value: string): Value => ({ signature: 's', value })
const texts = (...value: readonly string[]): Value => ({ signature: 'as', value })

const zoneSettings: Value = [
  ['version', text('1.0')],
  ['description', text('zone for docker bridge network interfaces')],
  ['target', text('ACCEPT')],
]
const policySettings: Value = [
  ['version', text('1.0')],
  ['description', text('allow forwarding to the docker zone')],
  ['ingress_zones', texts('ANY')],
  ['egress_zones', texts(zoneName)],
  ['target', text('ACCEPT')],
]

export class Firewalld {
  readonly #bus: Bus

  constructor(bus: Bus) {
    this.#bus = bus
  }

  /** Signals of its reload, start and end from now on. */
  async subscribe(): Promise<void> {
    await this.#bus.subscribe(
      `type='signal',sender='${name}',path='${path}',interface='${name}',member='Reloaded'`,
    )
    await this.#bus.subscribe(
      "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus'," +
        `member='NameOwnerChanged',arg0='${name}'`,
    )
  }

  /** What a signal says: a reload has ended, the service came or went, or nothing for us. */
  static meaningOf({ member, body }: Message): 'reloaded' | 'came' | 'went' | undefined {
    if (member === 'Reloaded') return 'reloaded'
    if (member !== 'NameOwnerChanged' || body[0] !== name) return undefined
    return body[2] === '' ? 'went' : 'came'
  }

  /** Asks the bus, which would otherwise start a service that is only installed. */
  async isRunning(): Promise<boolean> {
    const bus: BusTarget = {
      destination: 'org.freedesktop.DBus',
      path: '/org/freedesktop/DBus',
      interface: 'org.freedesktop.DBus',
    }
    const [owned] = await this.#bus.call(bus, 'NameHasOwner', 's', [name])
    return owned === true
  }

  /** Resolves when firewalld does nothing else: it answers after a reload, not during one. */
  async idle(): Promise<void> {
    await this.#bus.call(main, 'getDefaultZone')
  }

  /** Makes zone and policy where they are not there, and has them loaded. */
  async prepare(): Promise<void> {
    const [known] = await this.#bus.call(zones, 'getZones')
    let isNew = false
    if (!listOf(known).includes(zoneName)) {
      isNew = await this.#add('addZone2', zoneName, zoneSettings)
    }
    if (await this.#add('addPolicy', policyName, policySettings)) isNew = true
    if (isNew) await this.#bus.call(main, 'reload')
  }

  /** False when it is there already, or when this firewalld is too old for it. */
  async #add(member: string, what: string, settings: Value): Promise<boolean> {
    try {
      await this.#bus.call(permanent, member, 'sa{sv}', [what, settings])
      log.info('firewalld: added', { name: what })
      return true
    } catch (error) {
      if (!(error instanceof BusError)) throw error
      const isOld = error.name === 'org.freedesktop.DBus.Error.UnknownMethod'
      if (isOld) log.warn('this firewalld is too old', { for: what })
      if (isOld || error.message.startsWith('NAME_CONFLICT')) return false
      throw error
    }
  }

  /** Zone by link, of the links that are in one. */
  async zonesOfLinks(): Promise<ReadonlyMap<string, string>> {
    const [active] = await this.#bus.call(zones, 'getActiveZones')
    const found = new Map<string, string>()
    for (const entry of listOf(active)) {
      const [zone, parts] = listOf(entry)
      for (const part of listOf(parts)) {
        const [kind, links] = listOf(part)
        if (kind !== 'interfaces') continue
        for (const link of listOf(links)) found.set(String(link), String(zone))
      }
    }
    return found
  }

  /** Puts a bridge where it belongs: the user's zone for it, else where it is, else ours. */
  async place(bridge: string, current: string | undefined): Promise<void> {
    const [chosen] = await this.#bus.call(permanent, 'getZoneOfInterface', 's', [bridge])
    const user = typeof chosen === 'string' ? chosen : ''
    const zone = user !== '' ? user : (current ?? zoneName)
    if (zone === current) return
    await this.#bus.call(zones, 'changeZoneOfInterface', 'ss', [zone, bridge])
    log.info('firewalld: zone of a bridge', { bridge, zone })
  }

  /** Takes a bridge out of our zone; one that is elsewhere is the user's business. */
  async withdraw(bridge: string): Promise<void> {
    const [zone] = await this.#bus.call(zones, 'getZoneOfInterface', 's', [bridge])
    if (zone === zoneName) {
      await this.#bus.call(zones, 'removeInterface', 'ss', [zoneName, bridge])
    }
  }
}
