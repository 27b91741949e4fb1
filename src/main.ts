/** The process: the engine, or the command that talks to it. Each is loaded only when it runs. */
// An import of node:http reads every export of it once, and these load undici, a client that nobody
// here uses: 30 ms of each start. Node makes them configurable.
const http = process.getBuiltinModule('node:http')
for (const name of ['WebSocket', 'CloseEvent', 'MessageEvent']) Reflect.deleteProperty(http, name)

const [verb, ...rest] = process.argv.slice(2)

const code =
  verb === 'daemon'
    ? await (await import('./daemon/main.ts')).main(rest)
    : await (await import('./cli/main.ts')).main(process.argv.slice(2))

// Connections that are kept for reuse would hold the process for minutes.
process.exit(code)
