/**
 * What a terminal would do with a line of output, as far as a page can: colours and weights become named styles, of which
 * the style sheet makes colours that can be read on its background; everything else that a terminal obeys is left out.
 */

/** Style is how text is set. A colour is 0 to 15: black, red, green, yellow, blue, magenta, cyan, white, and each bright. */
export interface Style {
  color?: number
  bold?: boolean
  dim?: boolean
  italic?: boolean
  underline?: boolean
}

export interface Span {
  text: string
  style: Style
}

const none: Style = {}

// CSI … final, OSC … BEL or ST, other strings … ST, and two-character escapes.
const escapes =
  /\x1b\[([0-9:;<=>?]*)[ -/]*([@-~]?)|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[ -/]*[0-~]?/g

const controls = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g

/** Cuts a line into pieces of one style, beginning with the style that the line before ended with; returns also its own. */
export function parseLine(line: string, from: Style = none): {spans: Span[]; style: Style} {
  const shown = line.includes('\r') ? lastWritten(line) : line
  const spans: Span[] = []
  let style = from
  let at = 0
  const push = (text: string) => {
    const clean = text.replace(controls, '')
    if (clean !== '') spans.push({text: clean, style})
  }
  if (shown.includes('\x1b')) {
    for (const m of shown.matchAll(escapes)) {
      push(shown.slice(at, m.index))
      at = m.index + m[0].length
      if (m[2] === 'm') style = apply(style, m[1] ?? '')
    }
  }
  push(shown.slice(at))
  return {spans, style}
}

/** A carriage return goes back to the line's start, and a progress bar is what was written last. */
function lastWritten(line: string): string {
  const parts = line.split('\r').filter((p) => p !== '')
  return parts.at(-1) ?? ''
}

function apply(style: Style, params: string): Style {
  const codes = params === '' ? [0] : params.split(/[;:]/).map((p) => Number(p) || 0)
  let now = {...style}
  for (let i = 0; i < codes.length; i++) {
    const c = codes[i]!
    if (c === 0) now = {}
    else if (c === 1) now.bold = true
    else if (c === 2) now.dim = true
    else if (c === 3) now.italic = true
    else if (c === 4) now.underline = true
    else if (c === 22) now = {...now, bold: false, dim: false}
    else if (c === 23) now.italic = false
    else if (c === 24) now.underline = false
    else if (c >= 30 && c <= 37) now.color = c - 30
    else if (c >= 90 && c <= 97) now.color = c - 90 + 8
    else if (c === 39) delete now.color
    else if (c === 38 || c === 48) {
      const [color, used] = extended(codes.slice(i + 1))
      if (c === 38 && color !== undefined) now.color = color
      i += used
    }
  }
  return Object.values(now).some((v) => v !== false && v !== undefined) ? now : none
}

/** Reads what follows 38 or 48: `5;n` of a palette of 256, or `2;r;g;b`. Returns the nearest named colour. */
function extended(rest: number[]): [number | undefined, number] {
  if (rest[0] === 2) return [nearest(rest[1] ?? 0, rest[2] ?? 0, rest[3] ?? 0), 4]
  if (rest[0] !== 5) return [undefined, 0]
  const n = rest[1] ?? 0
  if (n < 16) return [n, 2]
  if (n >= 232) return [nearest((n - 232) * 10 + 8, (n - 232) * 10 + 8, (n - 232) * 10 + 8), 2]
  const level = (v: number) => (v === 0 ? 0 : 55 + v * 40)
  const cube = n - 16
  return [nearest(level(Math.floor(cube / 36)), level(Math.floor(cube / 6) % 6), level(cube % 6)), 2]
}

function nearest(r: number, g: number, b: number): number {
  const max = Math.max(r, g, b)
  const min = Math.min(r, g, b)
  if (max - min < 40) return max < 64 ? 0 : max < 150 ? 8 : max < 220 ? 7 : 15
  const half = (max + min) / 2
  const hue = (r > half ? 1 : 0) | (g > half ? 2 : 0) | (b > half ? 4 : 0)
  return max > 200 ? hue + 8 : hue
}
