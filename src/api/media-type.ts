/** The Content-Type of a request, as Go's `mime.ParseMediaType` reads it: strict, parameters too. */

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+/
const quoted = /^"(?:[^"\\]|\\.)*"/

/** In lower case, without parameters; or what is wrong with the header. */
export function parseMediaType(
  header: string,
): { readonly type: string } | { readonly problem: string } {
  const [base = '', ...rest] = header.split(/(?=;)/)
  const problem = problemOfType(base.trim())
  if (problem !== undefined) return { problem: `mime: ${problem}` }
  const parameters = problemOfParameters(rest.join(''))
  if (parameters !== undefined) return { problem: `mime: ${parameters}` }
  return { type: base.trim().toLowerCase() }
}

function problemOfType(text: string): string | undefined {
  const [type] = token.exec(text) ?? []
  if (type === undefined) return 'no media type'
  const behind = text.slice(type.length)
  if (behind === '') return undefined
  if (!behind.startsWith('/')) return 'expected slash after first token'
  const [subtype] = token.exec(behind.slice(1)) ?? []
  if (subtype === undefined) return 'expected token after slash'
  return behind.length > subtype.length + 1 ? 'unexpected content after media subtype' : undefined
}

function problemOfParameters(text: string): string | undefined {
  const names = new Set<string>()
  let left = text.trim()
  while (left !== '') {
    const after = left.replace(/^;\s*/, '')
    if (after === '') return undefined // a semicolon at the end is common
    const [name] = token.exec(after) ?? []
    const [, value] = /^\s*=\s*(.*)$/s.exec(after.slice(name?.length ?? 0)) ?? []
    const [found] = (value === undefined ? null : (quoted.exec(value) ?? token.exec(value))) ?? []
    if (name === undefined || value === undefined || found === undefined) {
      return 'invalid media parameter'
    }
    if (names.has(name.toLowerCase())) return 'duplicate parameter name'
    names.add(name.toLowerCase())
    left = value.slice(found.length).trim()
    if (left !== '' && !left.startsWith(';')) return 'invalid media parameter'
  }
  return undefined
}
