import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import type { PortIntent } from './intent.ts'
import { mergeRanges } from './ranges.ts'

const port = (hostPort: number, containerPort: number, count = 1): PortIntent => ({
  bridge: 'br', family: 4, mode: 'nat', protocol: 'tcp', hostIp: '0.0.0.0', hostPort,
  containerIp: '172.18.0.2', containerPort, count,
})

const singles = (ports: readonly PortIntent[]) =>
  new Set(ports.flatMap((one) => Array.from({ length: one.count }, (_, i) =>
    `${one.hostPort === 0 ? 0 : one.hostPort + i} → ${one.containerPort + i}`)))

test('ports in any order become the ranges that they were asked for as', () => {
  const shuffled = [5, 1, 9, 0, 3, 2, 8, 4, 7, 6].map((i) => port(8000 + i, 80 + i))
  assert.deepEqual(mergeRanges([port(9000, 90), ...shuffled]), [port(8000, 80, 10), port(9000, 90)])
})

test('ranges say exactly what the single ports said, and never overlap', () => {
  const anyPort = fc.record({
    at: fc.integer({ min: 1, max: 40 }), by: fc.constantFrom(0, 1000, 2000),
    count: fc.integer({ min: 1, max: 5 }), routed: fc.boolean(),
  })
  fc.assert(fc.property(fc.array(anyPort, { maxLength: 20 }), (asked) => {
    const ports = asked.map(({ at, by, count, routed }) => port(routed ? 0 : at + by, at, count))
    const merged = mergeRanges(ports)
    assert.deepEqual([...singles(merged)].toSorted(), [...singles(ports)].toSorted())
    assert.equal(singles(merged).size, merged.reduce((sum, { count }) => sum + count, 0))
  }))
})
