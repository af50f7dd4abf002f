/** Writes a JSON value as YAML 1.2 that a person would write: block style, plain strings where they are safe. */

// What YAML readers take for something other than a string, 1.1's words among them.
const notAString = /^(?:[-+]?[\d.][\d_.:+\-tz e]*|0[ox][\da-f_]+|~|null|true|false|yes|no|on|off|y|n|\.(?:inf|nan))$/i
const plain = /^[\p{L}\p{N}_/.@%^$(=][\p{L}\p{N}\p{P}\p{S} ]*$/u

function scalar(value: string): string {
  const safe = plain.test(value) && !notAString.test(value) && !/: | #|[:\s]$|^%|^@/.test(value)
  return safe ? value : JSON.stringify(value)
}

function key(name: string): string {
  return /^[\w./-]+$/.test(name) && !notAString.test(name) ? name : JSON.stringify(name)
}

/** A literal block keeps a script readable; YAML allows it where no line has odd characters or leading blanks first. */
function literal(value: string): boolean {
  return /^[^\s].*\n/.test(value) && !/[^\P{Cc}\n\t]|\n\n$|[\u0085\u2028\u2029\ufeff]/u.test(value)
}

function write(value: unknown, indent: string): string {
  if (typeof value === 'string') {
    if (!literal(value)) return ` ${scalar(value)}\n`
    const lines = value
      .replace(/\n$/, '')
      .split('\n')
      .map((l) => (l === '' ? '\n' : `${indent}${l}\n`))
    return ` |${value.endsWith('\n') ? '' : '-'}\n${lines.join('')}`
  }
  if (Array.isArray(value)) {
    if (value.length === 0) return ' []\n'
    return '\n' + value.map((v) => `${indent}-${item(v, indent)}`).join('')
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, v]) => v !== undefined)
    if (entries.length === 0) return ' {}\n'
    return '\n' + entries.map(([k, v]) => `${indent}${key(k)}:${write(v, `${indent}  `)}`).join('')
  }
  return ` ${JSON.stringify(value)}\n`
}

/** An item of a list begins on its dash's line. */
function item(value: unknown, indent: string): string {
  const text = write(value, `${indent}  `)
  return typeof value === 'object' && value !== null && text.startsWith('\n')
    ? ` ${text.slice(1 + indent.length + 2)}`
    : text
}

/** Returns value as a YAML document. */
export function yaml(value: unknown): string {
  const text = write(value, '')
  return text.startsWith('\n') ? text.slice(1) : text.trimStart()
}
