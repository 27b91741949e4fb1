/** The process: the engine, or the command that talks to it. Each is loaded only when it runs. */
const [verb, ...rest] = process.argv.slice(2)

const code =
  verb === 'daemon'
    ? await (await import('./daemon/main.ts')).main(rest)
    : await (await import('./cli/main.ts')).main(process.argv.slice(2))

// Connections that are kept for reuse would hold the process for minutes.
process.exit(code)
