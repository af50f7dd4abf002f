/** How times, spans and amounts read, in the reader's language. Pure: each function is given the time it speaks from. */

export type Lang = 'en' | 'zh-CN'

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

function memo<K extends string, V>(make: (key: K) => V): (key: K) => V {
  const made = new Map<K, V>()
  return (key) => {
    const known = made.get(key)
    if (known !== undefined) return known
    const value = make(key)
    made.set(key, value)
    return value
  }
}

const relativeFormat = memo((lang: Lang) => new Intl.RelativeTimeFormat(lang, {style: 'narrow', numeric: 'auto'}))
const clockFormat = memo((lang: Lang) => new Intl.DateTimeFormat(lang, {timeStyle: 'medium', hourCycle: 'h23'}))
const dayFormat = memo(
  (lang: Lang) =>
    new Intl.DateTimeFormat(lang, {
      month: 'short',
      day: 'numeric',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
      hourCycle: 'h23',
    }),
)
const fullFormat = memo(
  (lang: Lang) =>
    new Intl.DateTimeFormat(lang, {
      year: 'numeric',
      month: 'short',
      day: 'numeric',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
      hourCycle: 'h23',
      timeZoneName: 'short',
    }),
)
const numberFormat = memo((lang: Lang) => new Intl.NumberFormat(lang))
const unitFormat = memo((key: `${Lang}:${'day' | 'hour' | 'minute' | 'second' | 'millisecond'}:${0 | 1 | 2}`) => {
  const [lang, unit, digits] = key.split(':') as [Lang, string, string]
  return new Intl.NumberFormat(lang, {
    style: 'unit',
    unit,
    unitDisplay: 'narrow',
    maximumFractionDigits: Number(digits),
  })
})

/** "now", "5s ago", "in 3h": whole units, the largest that fits, cut and not rounded. */
export function relative(lang: Lang, at: number, now: number): string {
  const span = at - now
  const size = Math.abs(span)
  const format = relativeFormat(lang)
  const say = (unit: Intl.RelativeTimeFormatUnit, ms: number) => format.format(Math.trunc(span / ms), unit)
  if (size < minute) return say('second', second)
  if (size < hour) return say('minute', minute)
  if (size < 2 * day) return say('hour', hour)
  return say('day', day)
}

/** The time of day if at is today for the reader, else the day and the time. */
export function absolute(lang: Lang, at: number, now: number): string {
  const sameDay = new Date(at).toDateString() === new Date(now).toDateString()
  return (sameDay ? clockFormat(lang) : dayFormat(lang)).format(at)
}

/** The whole truth of an instant, for a tooltip: in the reader's zone, and in UTC. */
export function exact(lang: Lang, at: number): string {
  return `${fullFormat(lang).format(at)} · ${new Date(at).toISOString()}`
}

/** A span of time in at most two units: "340ms", "1.2s", "3m 5s", "2h 10m", "3d 4h". Less than nothing is nothing. */
export function span(lang: Lang, ms: number): string {
  const unit = (n: number, name: 'day' | 'hour' | 'minute' | 'second' | 'millisecond', digits: 0 | 1 | 2 = 0) =>
    unitFormat(`${lang}:${name}:${digits}`).format(n)
  const pair = (large: string, n: number, small: string) => (n === 0 ? large : `${large} ${small}`)
  const left = Math.max(0, ms)
  if (left < second) return unit(Math.round(left), 'millisecond')
  if (left < minute) return unit(Math.floor(left / 100) / 10, 'second', 1)
  if (left < hour) {
    const s = Math.floor((left % minute) / second)
    return pair(unit(Math.floor(left / minute), 'minute'), s, unit(s, 'second'))
  }
  if (left < day) {
    const m = Math.floor((left % hour) / minute)
    return pair(unit(Math.floor(left / hour), 'hour'), m, unit(m, 'minute'))
  }
  const h = Math.floor((left % day) / hour)
  return pair(unit(Math.floor(left / day), 'day'), h, unit(h, 'hour'))
}

/** Seconds of processor time: "0.04s". */
export function cpuSeconds(lang: Lang, seconds: number): string {
  return unitFormat(`${lang}:second:2`).format(seconds)
}

/** A count with its thousands apart. */
export function count(lang: Lang, n: number): string {
  return numberFormat(lang).format(n)
}

/** An amount of bytes: "512 B", "1.5 MiB". */
export function bytes(lang: Lang, n: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let i = 0
  let size = n
  while (size >= 1024 && i < names.length - 1) {
    size /= 1024
    i++
  }
  return `${new Intl.NumberFormat(lang, {maximumFractionDigits: size < 10 && i > 0 ? 1 : 0}).format(size)} ${names[i]}`
}

/** The instant, in milliseconds, that is in a run's id: when the run was due, or was asked for. NaN if id is no run's id. */
export function idTime(id: string): number {
  const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
  if (!/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(id)) return Number.NaN
  let ms = 0
  for (const c of id.slice(0, 10)) ms = ms * 32 + alphabet.indexOf(c)
  return ms
}
