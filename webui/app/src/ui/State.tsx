import {
  IconCircleCheckFilled,
  IconCircleXFilled,
  IconClockX,
  IconHandStop,
  IconHelpHexagonFilled,
  IconHourglass,
  IconInbox,
  IconLoader2,
  IconPlayerSkipForwardFilled,
} from './icons.ts'
import type {ComponentType} from 'react'
import type {RunState} from '../api/client.ts'
import {useT} from '../i18n/index.ts'

export const tone: Record<RunState, 'ok' | 'bad' | 'warn' | 'run' | 'off'> = {
  claimed: 'off',
  running: 'run',
  waiting: 'run',
  succeeded: 'ok',
  failed: 'bad',
  timed_out: 'bad',
  killed: 'warn',
  lost: 'warn',
  skipped: 'off',
}

const icons: Record<RunState, ComponentType<{size: number; 'aria-hidden': boolean; className?: string}>> = {
  claimed: IconHourglass,
  running: IconLoader2,
  waiting: IconHourglass,
  succeeded: IconCircleCheckFilled,
  failed: IconCircleXFilled,
  timed_out: IconClockX,
  killed: IconHandStop,
  lost: IconHelpHexagonFilled,
  skipped: IconPlayerSkipForwardFilled,
}

/** A run's state: an icon, a word and a colour, of which each one says it alone. */
export function State({state, size = 16}: {state: RunState; size?: number}) {
  const t = useT()
  const Icon = icons[state]
  return (
    <span className={`state ${tone[state]}`} title={t.stateHelp[state]}>
      <Icon size={size} aria-hidden className={state === 'running' ? 'turns' : undefined} />
      {t.state[state]}
    </span>
  )
}

/** Says that a run's result waits for somebody. */
export function ToHandle() {
  const t = useT()
  return (
    <span className="tag" title={t.run.toHandleHelp}>
      <IconInbox size={12} aria-hidden />
      {t.runs.toHandle}
    </span>
  )
}
