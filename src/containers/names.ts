/**
 * Names of containers: what may be one, and one for who gave none (adjective_surname).
 *
 * The words are navigators' and cartographers'; the form is Docker's.
 */
import { randomInt } from 'node:crypto'
import { Refusal } from '../base/refusal.ts'

const adjectives = (
  'able amber ample apt avid bold brave bright brisk calm candid clear clever cosmic crisp ' +
  'daring deft eager early earnest easy elated epic fair fast fearless festive fine fond ' +
  'frank fresh gallant gentle gifted glad golden grand happy hardy hearty honest hopeful ' +
  'humble ideal inspired jolly jovial keen kind lively loyal lucid lucky mellow merry mighty ' +
  'modest neat nimble noble noted patient peaceful plucky polite proud prudent quick quiet ' +
  'quirky rapid ready serene sharp silent sincere smart smooth snug sober solid steady stoic ' +
  'sunny sure swift tender tidy trusting upbeat valiant vibrant vivid warm wise witty worthy ' +
  'zealous zen'
).split(' ')

const surnames = (
  'agnese amundsen anaximander apian bachmann banks barents behaim bellingshausen bering ' +
  'blaeu bougainville bowditch brendan bylot cabot cano cassini champlain cheng colom cook ' +
  'cresques dampier davis dias drake dulcert earhart eratosthenes eriksson fine flinders ' +
  'franklin frobisher gama gerritsz halley harrison hecataeus henson hipparchus hondius ' +
  'hudson humboldt ibnbattuta idrisi jansson johnson kremer laperouse lisle magellan marinus ' +
  'mercator moll munster nansen nordenskiold ortelius piri plancius polo ptolemy pytheas reis ' +
  'ribeiro ritter ross ruysch sanson scott shackleton speed strabo tasman tupaia vancouver ' +
  'vespucci vesconte visscher waldseemuller wrangel'
).split(' ')

const allowed = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/

/** The name without its slash; refuses in Docker's words. */
export function checkName(given: string): string {
  const name = given.replace(/^\//, '')
  if (!allowed.test(name)) {
    throw new Refusal(
      'invalid',
      `Invalid container name (${given}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
    )
  }
  return name
}

/** A name that is free, with a digit behind it when most are taken; else the short id. */
export function inventName(isFree: (name: string) => boolean, fallback: string): string {
  for (let attempt = 0; attempt < 12; attempt++) {
    const pick = (words: readonly string[]) => words[randomInt(words.length)] ?? ''
    const name = `${pick(adjectives)}_${pick(surnames)}${attempt > 5 ? randomInt(10) : ''}`
    if (isFree(name)) return name
  }
  return fallback
}
