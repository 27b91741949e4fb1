/**
 * The text of request bodies: integers beyond 2^53 come in as bigint, malformed text is refused
 * with the sentences of Go's decoder, nesting is bounded.
 */
import { goSyntaxError } from '../base/go-json.ts'
import { parseExact } from '../base/json.ts'
import { Refusal } from '../base/refusal.ts'

/** Deeper than any document of the API; keeps later recursion (rendering, decoding) safe. */
const depthMax = 1000

/** One JSON document, nothing after it. */
export function parseJson(text: string): unknown {
  if (text.trim() === '') throw invalid('invalid JSON: got EOF while reading request body')
  checkDepth(text)
  try {
    return parseExact(text)
  } catch (error) {
    const sentence = goSyntaxError(text)
    const found = sentence === undefined ? 'unexpected content after JSON' : `invalid JSON: ${sentence}`
    throw invalid(found, error)
  }
}

function invalid(sentence: string, cause?: unknown): Refusal {
  return new Refusal('invalid', sentence, cause === undefined ? {} : { cause })
}

function checkDepth(text: string): void {
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (inString) {
      if (code === 0x5c /* \ */) i++
      else if (code === 0x22 /* " */) inString = false
    } else if (code === 0x22) inString = true
    else if (code === 0x7b || code === 0x5b) {
      if (++depth > depthMax) throw invalid('invalid JSON: exceeded max depth')
    } else if (code === 0x7d || code === 0x5d) depth--
  }
}
