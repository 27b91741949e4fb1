import assert from 'node:assert/strict'
import { closeSync, openSync } from 'node:fs'
import test from 'node:test'
import { createNetns, openNetns, removeNetns } from './netns.ts'
import { nft } from './nftables.ts'
import { raiseDescriptorLimit } from './limits.ts'
import { reserveLowDescriptors } from './low-descriptors.ts'

test('nftables can be used in a process with thousands of descriptors', () => {
  reserveLowDescriptors()
  raiseDescriptorLimit(4096)
  createNetns('/run/netns/many')
  const ns = openNetns('/run/netns/many')
  const descriptors = Array.from({ length: 1500 }, () => openSync('/dev/null', 'r'))
  try {
    for (let round = 0; round < 20; round++) nft(ns, 'add table ip probe; delete table ip probe')
    nft(ns, 'add table ip probe')
    assert.match(nft(ns, 'list tables'), /table ip probe/)
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor)
    ns.close()
    removeNetns('/run/netns/many')
  }
})
