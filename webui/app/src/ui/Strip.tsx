import {useNavigate} from '@tanstack/react-router'
import type {Run} from '../api/client.ts'
import {ended} from '../api/fold.ts'
import {useLang, useT} from '../i18n/index.ts'
import {absolute, span} from '../lib/time.ts'
import {clock} from '../lib/clock.ts'
import classes from './Strip.module.css'
import {tone} from './State.tsx'

/** The heights of bars for durations in milliseconds, from 0.2 to 1 on a logarithmic scale: runs differ by magnitudes. */
export function heights(durations: number[]): number[] {
  const logs = durations.map((d) => Math.log(Math.max(1, d)))
  const low = Math.min(...logs)
  const high = Math.max(...logs)
  return logs.map((l) => (high - low < 0.7 ? 0.6 : 0.2 + (0.8 * (l - low)) / (high - low)))
}

/** The last runs as bars, the newest at the right. What did not end well has a mark below it as well as a colour. */
export function Strip({runs, most}: {runs: Run[]; most: number}) {
  const t = useT()
  const lang = useLang()
  const navigate = useNavigate()
  const shown = runs.slice(0, most).reverse()
  const took = shown.map((r) =>
    r.started_at ? (r.ended_at ? Date.parse(r.ended_at) : clock.now()) - Date.parse(r.started_at) : 0,
  )
  const tall = heights(took)
  const counts = Object.entries(Object.groupBy(shown, (r) => r.state))
    .map(([state, of]) => `${t.state[state as Run['state']]} ${of?.length ?? 0}`)
    .join(', ')
  return (
    <div className={classes.strip} role="img" aria-label={`${t.overview.stripHelp(shown.length)}. ${counts}`}>
      {Array.from({length: most - shown.length}, (_, i) => (
        <i key={i} className={classes.none} />
      ))}
      {shown.map((r, i) => (
        <i
          key={r.id}
          className={classes.bar}
          data-tone={tone[r.state]}
          data-marked={ended(r.state) && r.state !== 'succeeded'}
          title={[r.job, t.state[r.state], absolute(lang, Date.parse(r.scheduled_at), clock.now()), span(lang, took[i]!)].join(' · ')}
          onClick={() => navigate({to: '/runs/$id', params: {id: r.id}})}
        >
          <b style={{height: `${Math.round(tall[i]! * 100)}%`}} />
        </i>
      ))}
    </div>
  )
}
