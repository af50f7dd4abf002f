/** Splits a text at two places that are counted in bytes of its UTF-8: what is before, between and after them. */
export function splitAt(text: string, [from, to]: [number, number]): [string, string, string] {
  const data = new TextEncoder().encode(text)
  const decoder = new TextDecoder('utf-8', {ignoreBOM: true})
  const part = (a: number, b?: number) => decoder.decode(data.subarray(a, b))
  return [part(0, from), part(from, to), part(to)]
}
