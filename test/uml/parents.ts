/**
 * Runs inside a user-mode-linux guest: dockerd and Portolan, asked the same of ipvlan, 802.1q
 * sub-interfaces and networks without a parent, which the host's kernel may lack.
 */
import test from 'node:test'
import { parentLinks, refusals, sharing } from '../lab/parents.ts'
import { noDockerd, Two } from '../lab/two.ts'

// There is no nftables for IP here.
const flags = ['--iptables=false', '--ip6tables=false']

test('ipvlan, sub-interfaces and networks without a parent as with dockerd', { skip: noDockerd }, async (t) => {
  const two = await Two.start(t, flags, parentLinks, false)
  await t.test('macvlan: what is taken and refused', () => refusals(two, 'macvlan', [], true))
  await t.test('ipvlan: what is taken and refused', () => refusals(two, 'ipvlan', []))
  await t.test('who shares a parent', () => sharing(two, false))
})
