/** Reads parameters, one NAME=VALUE a line; undefined if a line is none, or a name is given twice. */
export function paramsOf(text: string): Record<string, string> | undefined {
  const params = new Map<string, string>()
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue
    const [, name, value] = /^\s*([A-Za-z_][A-Za-z0-9_]*)=(.*)$/.exec(line) ?? []
    if (name === undefined || value === undefined || params.has(name)) return undefined
    params.set(name, value)
  }
  return Object.fromEntries(params)
}
