/**
 * Attaching a container to a network and detaching it, running or not.
 *
 * While it runs the network room does it, and what is stored follows; a failed attach leaves
 * nothing behind. While it is stopped only the stored wish changes, checked if the network exists.
 */
import { Refusal } from '../base/refusal.ts'
import type { EndpointSpec } from '../network/model.ts'
import type { EndpointSettings } from './config.ts'
import { kindOf } from './network-mode.ts'
import { keptDnsNames, networkName } from './networking.ts'
import { hasProcess, type ContainerRecord } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'

const invalid = (sentence: string): Refusal => new Refusal('invalid', sentence)

export function connectNetwork(
  context: Context,
  container: Container,
  spec: EndpointSpec,
  settings: EndpointSettings,
): Promise<void> {
  return context.registry.queue.run(container.id, async () => {
    const { networks, registry } = context
    const name = networkName(context, spec.network)
    checkAlive(container)
    const running = hasProcess(container.record.state.status)
    if (running) {
      // Of what runs, Docker names a shared namespace first, then an unknown network.
      if (kindOf(container.record) === 'container') throw invalid(isShared)
      networks.find(spec.network)
    }
    const wish = { ...spec, network: name }
    networks.validateEndpoint(name, wish)
    checkModes(container, name)
    const stored = (NetworkID: string) => {
      const DNSNames = keptDnsNames(container.record, name, settings)
      const kept = { ...settings, NetworkID, DNSNames }
      return { networks: { ...container.record.networks, [name]: kept } }
    }
    if (!running) return registry.save(container, stored(''))
    if (name in container.record.networks) {
      throw new Refusal(
        'forbidden',
        `endpoint with name ${container.record.name} already exists in network ${name}`,
      )
    }
    try {
      await networks.connect(container.id, wish, () => [
        registry.change(container, stored(networks.find(name).id)),
      ])
    } catch (error) {
      if (name in container.record.networks) {
        await registry.save(container, { networks: without(container, name) })
      }
      throw error
    }
  })
}

function checkAlive(container: Container): void {
  const { status } = container.record.state
  if (status === 'removing' || status === 'dead' || container.live.removing) {
    throw new Refusal(
      'internal',
      `container ${container.id} is marked for removal and cannot be ` +
        'connected or disconnected to the network',
    )
  }
}

const isShared =
  'container sharing network namespace with another container or host cannot be ' +
  'connected to any other network'

function checkModes({ record }: Container, network: string): void {
  const kind = kindOf(record)
  // Of these two, what follows says that it is there already, or keeps it.
  if (kind === 'host' && network === 'host') return
  if (network === 'host') {
    throw invalid(
      'cannot connect container to host network - container must be created in host network mode',
    )
  }
  if (kind === 'host' || kind === 'container') throw invalid(isShared)
  const others = Object.keys(record.networks).filter((name) => name !== network)
  if (others.includes('none') || (network === 'none' && others.length > 0)) {
    throw invalid(
      'container cannot be connected to multiple networks with one of the networks in ' +
        'private (none) mode',
    )
  }
}

export function disconnectNetwork(
  context: Context,
  container: Container,
  network: string,
  force: boolean,
): Promise<void> {
  return context.registry.queue.run(container.id, async () => {
    const name = networkName(context, network)
    checkAlive(container)
    if (name === 'host' && kindOf(container.record) === 'host') {
      throw invalid(
        'cannot disconnect container from host network - container was created in host ' +
          'network mode',
      )
    }
    const running = hasProcess(container.record.state.status)
    if (!(name in container.record.networks)) {
      // Of what runs, Docker names an unknown or ambiguous network first.
      if (running && !force) context.networks.find(network)
      const isKnown = context.networks.list().some(({ spec }) => spec.name === name)
      const which = running && isKnown ? 'network' : 'the network'
      throw new Refusal(
        'internal',
        `container ${container.id} is not connected to ${which} ${name}`,
      )
    }
    const { registry } = context
    if (!running) return registry.save(container, { networks: without(container, name) })
    const before = container.record.networks
    try {
      await context.networks.disconnect(container.id, name, force, () => [
        registry.change(container, { networks: without(container, name) }),
      ])
    } catch (error) {
      if (!(name in container.record.networks)) {
        await registry.save(container, { networks: before })
      }
      throw error
    }
  })
}

function without({ record }: Container, name: string): ContainerRecord['networks'] {
  const { [name]: _gone, ...networks } = record.networks
  return networks
}
