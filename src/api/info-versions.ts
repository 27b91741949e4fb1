/** GET /info as older API versions show it: without newer fields, with those that have gone. */
import type { ApiVersion } from './route.ts'

/** API versions from which on a field is there, or no longer. */
const since = {
  noKernelMemory: 142,
  containerd: 146,
  firewallBackend: 149,
  noExpected: 149,
  noNondistributable: 149,
  noBridgeNf: 150,
} as const

const commits = ['ContainerdCommit', 'RuncCommit', 'InitCommit'] as const

/** @param info the newest version's document */
export function infoAt(version: ApiVersion, info: object): object {
  const shown: Record<string, unknown> = { ...info }
  if (version >= since.noKernelMemory) delete shown['KernelMemory']
  if (version < since.containerd) delete shown['Containerd']
  if (version < since.firewallBackend) delete shown['FirewallBackend']
  if (version < since.noBridgeNf) {
    shown['BridgeNfIptables'] = false
    shown['BridgeNfIp6tables'] = false
  }
  if (version < since.noNondistributable) {
    shown['RegistryConfig'] = {
      AllowNondistributableArtifactsCIDRs: null,
      AllowNondistributableArtifactsHostnames: null,
      ...Object(shown['RegistryConfig']),
    }
  }
  if (version >= since.noExpected) return shown
  for (const name of commits) {
    const commit = Object(shown[name])
    // Clients warn when the two are not the same.
    shown[name] = { ...commit, Expected: commit.ID }
  }
  return shown
}
