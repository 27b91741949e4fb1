/** The code that Node and our own calls give their errors: `ENOENT`. '' where there is none. */
export function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
