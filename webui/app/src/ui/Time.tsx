import type {Run} from '../api/client.ts'
import {useLang, useT} from '../i18n/index.ts'
import {clock, useNow} from '../lib/clock.ts'
import {absolute, exact, relative, span} from '../lib/time.ts'

/**
 * "5s ago", kept true each second; the exact instant on hover. What has happened is not in the future, even if the clock
 * ticked before it.
 */
export function Ago({at}: {at: string}) {
  const lang = useLang()
  const now = useNow()
  const ms = Date.parse(at)
  return (
    <time dateTime={at} title={exact(lang, ms)}>
      {relative(lang, Math.min(ms, now), now)}
    </time>
  )
}

/** When something is next: "in 5s". What is due at this moment is said to be: the list is read again a little later. */
export function Until({at}: {at: string}) {
  const lang = useLang()
  const t = useT()
  const ms = Date.parse(at)
  const now = useNow()
  return (
    <time dateTime={at} title={exact(lang, ms)}>
      {ms - now < 1000 ? t.jobs.due : relative(lang, ms, now)}
    </time>
  )
}

/** The time of day, with the day unless it is today; the exact instant on hover. */
export function At({at}: {at: string}) {
  const lang = useLang()
  const ms = Date.parse(at)
  return (
    <time dateTime={at} title={exact(lang, ms)}>
      {absolute(lang, ms, clock.now())}
    </time>
  )
}

/** How long a run took, or takes so far. */
export function Took({run}: {run: Pick<Run, 'started_at' | 'ended_at'>}) {
  const t = useT()
  const lang = useLang()
  if (!run.started_at) return <span className="dim">{t.common.none}</span>
  if (run.ended_at) return <>{span(lang, Date.parse(run.ended_at) - Date.parse(run.started_at))}</>
  return <SoFar since={run.started_at} />
}

/** A span that grows. Whole seconds: it is drawn once a second. */
export function SoFar({since}: {since: string}) {
  const lang = useLang()
  const ms = Math.max(0, useNow() - Date.parse(since))
  return <>{span(lang, ms < 1000 ? ms : ms - (ms % 1000))}</>
}

/** How long after it was due, or asked for, a run started. */
export function Delay({run}: {run: Pick<Run, 'started_at' | 'scheduled_at'>}) {
  const t = useT()
  const lang = useLang()
  if (!run.started_at) return <span className="dim">{t.common.none}</span>
  return <>{span(lang, Date.parse(run.started_at) - Date.parse(run.scheduled_at))}</>
}
