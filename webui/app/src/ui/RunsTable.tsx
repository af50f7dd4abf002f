import {Button} from '@mantine/core'
import {IconPlayerPause, IconPlayerPlay} from './icons.ts'
import {useInfiniteQuery, useQuery} from '@tanstack/react-query'
import {Link, useNavigate} from '@tanstack/react-router'
import {memo, type MouseEvent, type ReactNode, useCallback, useMemo, useReducer, useRef, useState} from 'react'
import type {Run} from '../api/client.ts'
import type {RunFilter} from '../api/fold.ts'
import {agentsQuery, runsQuery} from '../api/queries.ts'
import {useT} from '../i18n/index.ts'
import {useKeys} from '../lib/keys.ts'
import {JobLink, Loading, LoadMore} from './Bits.tsx'
import {State, ToHandle} from './State.tsx'
import {Ago, Delay, Took} from './Time.tsx'
import {Trouble} from './Trouble.tsx'
import {useHeld} from './useHeld.ts'

export type RunColumn = 'job' | 'delay' | 'trigger' | 'agent'

interface Props {
  filter: RunFilter
  columns: readonly RunColumn[]
  title: ReactNode
  /** Shown when there is no run. */
  empty: ReactNode
  /** Rows at most; without it, all that are loaded, with more to load. */
  rows?: number
  /** In the panel's header, at its end. */
  extra?: ReactNode
}

/** Names of agents by their ids. */
export function useAgentNames(): Map<string, string> {
  const {data} = useQuery(agentsQuery)
  return useMemo(() => new Map(data?.items.map((a) => [a.id, a.name])), [data])
}

/** Runs as they happen, the newest first. */
export function RunsTable({filter, columns, title, empty, rows, extra}: Props) {
  const t = useT()
  const query = useInfiniteQuery(runsQuery(filter))
  const names = useAgentNames()
  const body = useRef<HTMLTableSectionElement>(null)
  const [paused, setPaused] = useState(false)
  const [, redraw] = useReducer((n: number) => n + 1, 0)
  const all = useMemo(() => query.data?.pages.flatMap((p) => p.items) ?? [], [query.data])
  const {shown, waiting, release} = useHeld(all, paused, body)
  const first = useRef<string | undefined>(undefined)
  if (first.current === undefined && all.length > 0) first.current = all[0]!.id
  useKeys({p: () => setPaused((p) => !p)})

  return (
    <section className="panel" aria-label={t.runs.title}>
      <header>
        <h2>{title}</h2>
        <span className="grow" />
        {waiting > 0 && (
          <Button size="compact-xs" variant="light" onClick={() => (release(), redraw())}>
            {t.runs.waiting(waiting)}
          </Button>
        )}
        <Button
          size="compact-xs"
          variant="default"
          aria-pressed={paused}
          onClick={() => setPaused(!paused)}
          leftSection={paused ? <IconPlayerPlay size={12} /> : <IconPlayerPause size={12} />}
        >
          {paused ? t.runs.resume : t.runs.pause}
        </Button>
        {extra}
      </header>
      {query.isPending ? (
        <Loading />
      ) : query.isError && all.length === 0 ? (
        <div className="body">
          <Trouble error={query.error} retry={() => query.refetch()} />
        </div>
      ) : all.length === 0 ? (
        empty
      ) : (
        <div className="scroll">
          <table className="list">
            <caption hidden>{t.runs.caption}</caption>
            <thead>
              <tr>
                <th scope="col">{t.runs.state}</th>
                {columns.includes('job') && <th scope="col">{t.runs.job}</th>}
                <th scope="col">{t.runs.due}</th>
                {columns.includes('delay') && (
                  <th scope="col" className="num">
                    {t.runs.delay}
                  </th>
                )}
                <th scope="col" className="num">
                  {t.runs.duration}
                </th>
                {columns.includes('trigger') && <th scope="col">{t.runs.trigger}</th>}
                {columns.includes('agent') && <th scope="col">{t.runs.agent}</th>}
                <th scope="col">{t.runs.result}</th>
              </tr>
            </thead>
            <tbody ref={body}>
              {shown.slice(0, rows).map((run) => (
                <Row
                  key={run.id}
                  run={run}
                  columns={columns}
                  agent={names.get(run.agent) ?? run.agent}
                  fresh={first.current !== undefined && run.id > first.current}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {rows === undefined && query.hasNextPage && (
        <LoadMore onClick={() => query.fetchNextPage()} busy={query.isFetchingNextPage} />
      )}
    </section>
  )
}

const Row = memo(function Row({
  run,
  columns,
  agent,
  fresh,
}: {
  run: Run
  columns: readonly RunColumn[]
  agent: string
  fresh: boolean
}) {
  const t = useT()
  const navigate = useNavigate()
  const open = useCallback(
    (e: MouseEvent) => {
      // A link in the row goes its own way, and marking text is not asking for the run.
      if ((e.target as Element).closest('a') || window.getSelection()?.toString()) return
      void navigate({to: '/runs/$id', params: {id: run.id}})
    },
    [navigate, run.id],
  )
  return (
    <tr className={fresh ? 'opens fresh' : 'opens'} onClick={open}>
      <td>
        <Link to="/runs/$id" params={{id: run.id}} aria-label={t.runs.open(run.job, t.state[run.state])}>
          <State state={run.state} />
        </Link>
      </td>
      {columns.includes('job') && (
        <td>
          <JobLink name={run.job} />
        </td>
      )}
      <td>
        <Ago at={run.scheduled_at} />
      </td>
      {columns.includes('delay') && (
        <td className="num">
          <Delay run={run} />
        </td>
      )}
      <td className="num">
        <Took run={run} />
      </td>
      {columns.includes('trigger') && (
        <td>
          {t.trigger[run.trigger]}
          {run.by && <span className="dim"> {t.runs.by(run.by, run.trigger)}</span>}
        </td>
      )}
      {columns.includes('agent') && (
        <td className="clip" title={run.agent}>
          {agent}
        </td>
      )}
      <td className="wide" title={run.reason}>
        {run.to_handle && <ToHandle />} <Result run={run} />
      </td>
    </tr>
  )
})

/** How a run ended, in as few words as it takes. */
function Result({run}: {run: Run}) {
  const t = useT()
  const attempts = run.attempts ?? []
  const code = attempts.at(-1)?.exit_code
  const said = run.reason || (code === undefined ? '' : t.runs.exit(code))
  const tries = attempts.length > 1 ? t.runs.attempts(attempts.length) : ''
  return <span className="dim">{[said, tries].filter((p) => p !== '').join(' · ')}</span>
}
