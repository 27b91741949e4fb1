/**
 * All that the keeper holds, by the daemon's requests. Each request is idempotent; `settle` closes
 * what the daemon did not name.
 */
import type { PortHold } from './client.ts'
import type { SandboxNames } from './dns.ts'
import type { Answer, Request } from './protocol.ts'
import type { Stdio } from './stdio.ts'

/** The verbs of `ports.ts` that are used here. */
export interface PortHolding {
  hold(endpointId: string, ports: readonly PortHold[]): Promise<void> | void
  release(endpointId: string): Promise<void> | void
}

type Settle = Extract<Request, { method: 'settle' }>

export class Holdings {
  readonly #stdio: Stdio
  readonly #names: SandboxNames
  readonly #ports: PortHolding
  readonly #endpoints = new Set<string>()
  readonly #streams = new Set<string>()

  constructor(stdio: Stdio, names: SandboxNames, ports: PortHolding) {
    this.#stdio = stdio
    this.#names = names
    this.#ports = ports
  }

  get empty(): boolean {
    return this.#endpoints.size === 0 && this.#streams.size === 0 && this.#names.sandboxes === 0
  }

  async perform(request: Request): Promise<Answer> {
    switch (request.method) {
      case 'setZone':
        this.#names.setZone(request.networkId, request.records)
        return {}
      case 'changeZone':
        this.#names.changeZone(request.networkId, request.changed, request.removed)
        return {}
      case 'removeZone':
        this.#names.removeZone(request.networkId)
        return {}
      case 'setResolver':
        return { ports: this.#names.setResolver(request.spec, request.ports) }
      case 'removeResolver':
        this.#names.removeResolver(request.sandboxId)
        return {}
      case 'holdPorts':
        await this.#ports.hold(request.endpointId, request.ports)
        this.#endpoints.add(request.endpointId)
        return {}
      case 'releasePorts':
        return this.#releasePorts(request.endpointId)
      case 'openStdio': {
        const { opening } = request
        const answer = await this.#stdio.call({ method: 'open', opening })
        this.#streams.add(opening.spec.streamId)
        return answer
      }
      case 'drainStdio': {
        const { streamId, timeoutMs } = request
        await this.#stdio.call({ method: 'drain', streamId, timeoutMs })
        this.#streams.delete(streamId)
        return {}
      }
      case 'closeStdio':
        await this.#stdio.call({ method: 'close', streamId: request.streamId })
        this.#streams.delete(request.streamId)
        return {}
      case 'settle':
        return this.#settle(request)
      case 'stop':
        throw new Error('stop is for the process, not for its holdings')
    }
  }

  async #releasePorts(endpointId: string): Promise<Answer> {
    await this.#ports.release(endpointId)
    this.#endpoints.delete(endpointId)
    return {}
  }

  async #settle(request: Settle): Promise<Answer> {
    this.#names.keepOnly(new Set(request.zones), new Set(request.resolvers))
    const endpoints = new Set(request.ports)
    for (const endpointId of this.#endpoints) {
      if (!endpoints.has(endpointId)) await this.#releasePorts(endpointId)
    }
    await this.#stdio.call({ method: 'settle', streamIds: request.streams })
    const streams = new Set(request.streams)
    for (const streamId of this.#streams) {
      if (!streams.has(streamId)) this.#streams.delete(streamId)
    }
    return {}
  }
}
