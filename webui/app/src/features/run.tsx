import {Button, Group, Loader, Modal, TextInput} from '@mantine/core'
import {useDisclosure} from '@mantine/hooks'
import {useQuery} from '@tanstack/react-query'
import {getRouteApi, Link} from '@tanstack/react-router'
import {useState} from 'react'
import type {Attempt, Run} from '../api/client.ts'
import {Problem} from '../api/client.ts'
import {ended} from '../api/fold.ts'
import {mayCome, runQuery, sessionQuery} from '../api/queries.ts'
import {useLang, useT} from '../i18n/index.ts'
import {bytes, cpuSeconds} from '../lib/time.ts'
import {OutputView, type Place} from '../output/OutputView.tsx'
import {may, useHandle, useKill} from '../ui/actions.tsx'
import {Code, Copy, Empty, JobLink, Loading, useTitle} from '../ui/Bits.tsx'
import {useAgentNames} from '../ui/RunsTable.tsx'
import {State, ToHandle} from '../ui/State.tsx'
import {Ago, At, Delay, Took, Until} from '../ui/Time.tsx'
import {Trouble} from '../ui/Trouble.tsx'
import {Labels} from './agents.tsx'
import classes from './run.module.css'

const route = getRouteApi('/app/runs/$id')

export function RunPage() {
  const t = useT()
  const {id} = route.useParams()
  const {line} = route.useSearch()
  const query = useQuery(runQuery(id))
  const run = query.data
  useTitle(run ? t.run.title(run.job) : id)
  if (query.isPending)
    return (
      <div className="page">
        <Loading />
      </div>
    )
  if (!run)
    return (
      <div className="page">
        <Missing id={id} error={query.error} retry={() => query.refetch()} />
      </div>
    )
  return (
    <div className="page">
      <div className="head">
        <h1>
          {t.run.title('')}
          <JobLink name={run.job} />
        </h1>
        <span className={classes.state}>
          <State state={run.state} size={18} />
        </span>
        {run.reason && <span className="dim">{run.reason}</span>}
        {!ended(run.state) && <Kill id={run.id} />}
      </div>
      <Facts run={run} />
      {(run.attempts?.length ?? 0) > 0 && <Attempts attempts={run.attempts!} />}
      {run.result !== undefined && <Result run={run} />}
      <OutputView run={run} key={run.id} goTo={placeOf(line)} />
    </div>
  )
}

/** Offers to end the run. */
function Kill({id}: {id: string}) {
  const t = useT()
  const {data: session} = useQuery(sessionQuery)
  const [asking, {open, close}] = useDisclosure()
  const [reason, setReason] = useState('')
  const kill = useKill(id)
  if (!may(session?.role).run) return null
  return (
    <>
      <Button size="xs" variant="default" onClick={open}>
        {t.run.kill}
      </Button>
      <Modal opened={asking} onClose={close} title={t.run.killTitle} closeButtonProps={{'aria-label': t.common.close}}>
        <TextInput
          label={t.run.killReason}
          value={reason}
          maxLength={160}
          onChange={(e) => setReason(e.currentTarget.value)}
          data-autofocus
        />
        <Group justify="flex-end" gap="xs" mt="md">
          <Button size="xs" variant="default" onClick={close}>
            {t.common.cancel}
          </Button>
          <Button size="xs" loading={kill.isPending} onClick={() => kill.mutate(reason, {onSettled: close})}>
            {t.run.killDo}
          </Button>
        </Group>
      </Modal>
    </>
  )
}

/** What the run gave back, and what became of that. */
function Result({run}: {run: Run}) {
  const t = useT()
  return (
    <section className="panel" aria-label={t.run.result}>
      <header>
        <h2>{t.run.result}</h2>
        {run.to_handle && <ToHandle />}
        <span className="grow" />
        {run.to_handle && <Handle id={run.id} />}
      </header>
      <div className="body">
        {run.handled && (
          <p className="dim">
            {t.run.handledBy(run.handled.by ?? t.common.none)} · <At at={run.handled.at} />
            {run.handled.note && ` · ${run.handled.note}`}
          </p>
        )}
        <Code text={JSON.stringify(run.result, null, 2)} label="JSON" />
      </div>
    </section>
  )
}

/** Offers to mark the run's result as handled. */
function Handle({id}: {id: string}) {
  const t = useT()
  const {data: session} = useQuery(sessionQuery)
  const [asking, {open, close}] = useDisclosure()
  const [note, setNote] = useState('')
  const handle = useHandle(id)
  if (!may(session?.role).run) return null
  return (
    <>
      <Button size="compact-xs" variant="default" onClick={open}>
        {t.run.handle}
      </Button>
      <Modal opened={asking} onClose={close} title={t.run.handleTitle} closeButtonProps={{'aria-label': t.common.close}}>
        <TextInput
          label={t.run.handleNote}
          value={note}
          maxLength={160}
          onChange={(e) => setNote(e.currentTarget.value)}
          data-autofocus
        />
        <Group justify="flex-end" gap="xs" mt="md">
          <Button size="xs" variant="default" onClick={close}>
            {t.common.cancel}
          </Button>
          <Button size="xs" loading={handle.isPending} onClick={() => handle.mutate(note, {onSettled: close})}>
            {t.run.handle}
          </Button>
        </Group>
      </Modal>
    </>
  )
}

/** The place that an address names: attempt, stream and offset of a line. */
function placeOf(line: string | undefined): Place | undefined {
  const [, attempt, stream, offset] = /^(\d{1,9})-(stdout|stderr)-(\d{1,15})$/.exec(line ?? '') ?? []
  return stream ? {attempt: Number(attempt), stream: stream as Place['stream'], offset: Number(offset)} : undefined
}

function Missing({id, error, retry}: {id: string; error: unknown; retry: () => void}) {
  const t = useT()
  if (mayCome(id, error)) {
    return (
      <section className="panel" role="status">
        <Empty title={t.run.coming}>
          <p>{t.run.comingText}</p>
          <Loader size="sm" color="gray" aria-hidden />
        </Empty>
      </section>
    )
  }
  if (!(error instanceof Problem && (error.status === 404 || error.status === 422)))
    return <Trouble error={error} retry={retry} />
  return (
    <section className="panel">
      <Empty title={t.run.gone}>
        <p>{t.run.goneHint}</p>
        <Link to="/runs">{t.nav.runs}</Link>
      </Empty>
    </section>
  )
}

/** Another run of the same occurrence. */
function OtherRun({title, id}: {title: string; id: string}) {
  return (
    <div>
      <dt>{title}</dt>
      <dd className={classes.id}>
        <Link to="/runs/$id" params={{id}}>
          {id}
        </Link>
      </dd>
    </div>
  )
}

function Facts({run}: {run: Run}) {
  const t = useT()
  const names = useAgentNames()
  const byHand = run.trigger === 'manual'
  return (
    <section className={`panel ${classes.facts}`} aria-label={t.common.details}>
      <dl>
        <div>
          <dt>{byHand ? t.run.asked : t.run.due}</dt>
          <dd>
            <At at={run.scheduled_at} />{' '}
            <i>
              · <Ago at={run.scheduled_at} />
            </i>
          </dd>
        </div>
        <div>
          <dt>{t.run.started}</dt>
          <dd>{run.started_at ? <At at={run.started_at} /> : t.run.notStarted}</dd>
        </div>
        {run.state === 'waiting' && run.until && (
          <div>
            <dt>{t.run.waitsUntil}</dt>
            <dd>
              <At at={run.until} />{' '}
              <i>
                · <Until at={run.until} />
              </i>
            </dd>
          </div>
        )}
        {run.progress && (
          <div>
            <dt>{t.run.progress}</dt>
            <dd>
              <progress max={100} value={run.progress.percent} aria-label={t.run.progress} /> {run.progress.percent} %{' '}
              {run.progress.message}{' '}
              <i>
                · <Ago at={run.progress.at} />
              </i>
            </dd>
          </div>
        )}
        <div>
          <dt>{t.run.endedAt}</dt>
          <dd>{run.ended_at ? <At at={run.ended_at} /> : ended(run.state) ? t.common.none : t.run.goesOn}</dd>
        </div>
        <div>
          <dt>{t.run.duration}</dt>
          <dd>
            <Took run={run} />
          </dd>
        </div>
        <div>
          <dt>{t.run.delay}</dt>
          <dd>
            <Delay run={run} />
          </dd>
        </div>
        <div>
          <dt>{t.run.trigger}</dt>
          <dd>
            {t.trigger[run.trigger]}
            {run.by && <i> {t.runs.by(run.by, run.trigger)}</i>}
          </dd>
        </div>
        <div>
          <dt>{t.run.agent}</dt>
          <dd>
            <Link to="/runs" search={{agent: run.agent}} title={run.agent}>
              {names.get(run.agent) ?? run.agent}
            </Link>
          </dd>
        </div>
        {run.doubles && <OtherRun title={t.run.doubles} id={run.doubles} />}
        {run.rerun_of && <OtherRun title={t.run.rerunOf} id={run.rerun_of} />}
        {run.params && (
          <div>
            <dt>{t.run.params}</dt>
            <dd>
              <Labels labels={run.params} />
            </dd>
          </div>
        )}
        {run.labels && (
          <div>
            <dt>{t.run.labels}</dt>
            <dd>
              <Labels labels={run.labels} />
            </dd>
          </div>
        )}
        <div>
          <dt>{t.run.generation}</dt>
          <dd>{t.run.gen(run.generation)}</dd>
        </div>
        <div>
          <dt>{t.run.id}</dt>
          <dd className={classes.id}>
            <span className="mono">{run.id}</span> <Copy value={run.id} />
          </dd>
        </div>
      </dl>
    </section>
  )
}

function Attempts({attempts}: {attempts: Attempt[]}) {
  const t = useT()
  const several = attempts.some((a) => a.agent)
  return (
    <section className="panel" aria-label={t.run.attempts}>
      <div className="scroll">
        <table className="list">
          <caption hidden>{t.run.attempts}</caption>
          <thead>
            <tr>
              <th scope="col">{t.run.attempt}</th>
              {several && <th scope="col">{t.run.agent}</th>}
              <th scope="col">{t.run.exit}</th>
              <th scope="col">{t.run.started}</th>
              <th scope="col" className="num">
                {t.run.duration}
              </th>
              <th scope="col" className="num">
                {t.run.cpu}
              </th>
              <th scope="col" className="num">
                {t.run.memory}
              </th>
              <th scope="col" className="num">
                {t.run.stdout}
              </th>
              <th scope="col" className="num">
                {t.run.stderr}
              </th>
              <th scope="col" className="num">
                {t.run.pid}
              </th>
            </tr>
          </thead>
          <tbody>
            {attempts.map((a) => (
              <AttemptRow key={a.number} attempt={a} several={several} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}

function AttemptRow({attempt: a, several}: {attempt: Attempt; several: boolean}) {
  const t = useT()
  const names = useAgentNames()
  const lang = useLang()
  const over = a.ended_at !== undefined
  return (
    <tr>
      <td>{a.number}</td>
      {several && <td>{a.agent ? (names.get(a.agent) ?? a.agent) : t.common.none}</td>}
      <td>
        {a.signal ?? (a.exit_code === undefined ? (over ? t.common.none : t.run.goesOn) : t.runs.exit(a.exit_code))}
      </td>
      <td>
        <At at={a.started_at} />
      </td>
      <td className="num">
        <Took run={a} />
      </td>
      <td className="num">{a.cpu_seconds === undefined ? t.common.none : cpuSeconds(lang, a.cpu_seconds)}</td>
      <td className="num">{a.max_rss_bytes ? bytes(lang, a.max_rss_bytes) : t.common.none}</td>
      <td className="num">{over ? bytes(lang, a.stdout_bytes) : t.common.none}</td>
      <td className="num">{over ? bytes(lang, a.stderr_bytes) : t.common.none}</td>
      <td className="num">{a.pid ?? t.common.none}</td>
    </tr>
  )
}
