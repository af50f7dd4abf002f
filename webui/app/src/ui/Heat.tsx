import type {DayFigures, HourFigures, RunCounts} from '../api/client.ts'
import {useLang, useT} from '../i18n/index.ts'
import {clock} from '../lib/clock.ts'
import {count, span} from '../lib/time.ts'
import classes from './Heat.module.css'

const day = 86_400_000

/** How many runs ended badly, of how many that ran. */
export function badOf(c: RunCounts): [bad: number, ran: number] {
  const bad = c.failed + c.timed_out + c.killed + c.lost
  return [bad, bad + c.succeeded]
}

/** From 0, where nothing ran, by 1, where all went well, to 4, where more than half went badly. */
export function level(c: RunCounts | undefined): number {
  const [bad, ran] = c ? badOf(c) : [0, 0]
  if (ran === 0) return 0
  if (bad === 0) return 1
  return bad * 10 <= ran ? 2 : bad * 2 <= ran ? 3 : 4
}

function useWords() {
  const t = useT()
  const lang = useLang()
  return (c: RunCounts | undefined) => {
    const [bad, ran] = c ? badOf(c) : [0, 0]
    return ran === 0 ? t.heat.nothing : t.heat.counts(count(lang, ran), count(lang, bad))
  }
}

/** A cell for each of the last days, in UTC, today at the right. */
export function Heat({days, history}: {days: number; history: DayFigures[]}) {
  const t = useT()
  const lang = useLang()
  const words = useWords()
  const known = new Map(history.map((d) => [d.day, d]))
  const today = Math.floor(clock.now() / day)
  const cells = Array.from({length: days}, (_, i) => new Date((today - days + 1 + i) * day).toISOString().slice(0, 10))
  return (
    <div className={classes.heat} role="img" aria-label={t.heat.help(days)}>
      {cells.map((date) => {
        const figures = known.get(date)
        const took = figures?.durations
        const title = [date, words(figures?.counts), took && t.heat.took(span(lang, took.p50 * 1000), span(lang, took.p90 * 1000))]
        return <i key={date} data-level={level(figures?.counts)} title={title.filter(Boolean).join(' · ')} />
      })}
    </div>
  )
}

/** A bar for each hour: how many ran, and how many of them badly. */
export function Hours({hours}: {hours: HourFigures[]}) {
  const t = useT()
  const lang = useLang()
  const words = useWords()
  const most = Math.max(1, ...hours.map((h) => badOf(h.counts)[1]))
  return (
    <div className={classes.hours} role="img" aria-label={t.heat.hours}>
      {hours.map((h) => {
        const [bad, ran] = badOf(h.counts)
        const from = new Intl.DateTimeFormat(lang, {hour: '2-digit', minute: '2-digit', hourCycle: 'h23'}).format(Date.parse(h.from))
        return (
          <i key={h.from} title={`${from} · ${words(h.counts)}`}>
            {ran > 0 && (
              <b style={{height: `${Math.max(4, (ran / most) * 100)}%`}}>
                {bad > 0 && <u style={{height: `${Math.max(12, (bad / ran) * 100)}%`}} />}
              </b>
            )}
          </i>
        )
      })}
    </div>
  )
}
