/** Containers: every option by itself, and options in pairs, created, inspected and removed. */
import {
  hostOptions, merged, networkOptions, processOptions, type Part,
} from './container-options.ts'
import type { Panel } from './panel.ts'
import { pairwise, type Levels } from './pairwise.ts'

export async function containerTopic(panel: Panel): Promise<void> {
  await panel.ask('create net1', 'POST', '/networks/create',
    { Name: 'net1', IPAM: { Config: [{ Subnet: '10.61.0.0/16' }] } }, { keep: 'net1' })
  for (const options of [networkOptions, processOptions, hostOptions]) {
    for (const [name, values] of Object.entries(options)) {
      let index = 0
      for (const value of values.slice(1)) await createAndInspect(panel, `${name} ${++index}`, [value])
    }
    await pairs(panel, options)
  }
  await panel.do('DELETE', '/networks/net1')
}

async function pairs(panel: Panel, options: Levels<Part>): Promise<void> {
  let index = 0
  for (const row of pairwise(options)) {
    await createAndInspect(panel, `pairs of ${Object.keys(options)[0]} ${++index}`, Object.values(row))
  }
}

async function createAndInspect(panel: Panel, what: string, parts: readonly Part[]): Promise<void> {
  const body = merged([{ Image: 'busybox' }, ...parts])
  await panel.ask(`create: ${what}`, 'POST', '/containers/create?name=box', body, { keep: 'box' })
  await panel.ask(`inspect created: ${what}`, 'GET', '/containers/box/json')
  await panel.do('DELETE', '/containers/box?v=1&force=1')
}
