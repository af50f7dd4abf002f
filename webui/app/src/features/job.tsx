import {Button, Group, Modal, Tabs} from '@mantine/core'
import {useDisclosure} from '@mantine/hooks'
import {
  IconPlayerPause,
  IconBolt,
  IconPlayerPlay,
  IconTrash,
} from '../ui/icons.ts'
import {useInfiniteQuery, useQuery} from '@tanstack/react-query'
import {getRouteApi, Link, useNavigate} from '@tanstack/react-router'
import {useMemo} from 'react'
import {type JobStatus, Problem} from '../api/client.ts'
import {historyQuery, jobQuery, runsQuery, sessionQuery} from '../api/queries.ts'
import {useT} from '../i18n/index.ts'
import {yaml} from '../lib/yaml.ts'
import {may, useJobActions} from '../ui/actions.tsx'
import {Code, Empty, Loading, useTitle} from '../ui/Bits.tsx'
import {Heat} from '../ui/Heat.tsx'
import {RunsTable} from '../ui/RunsTable.tsx'
import {Strip} from '../ui/Strip.tsx'
import {Trouble} from '../ui/Trouble.tsx'
import {Definition} from './definition.tsx'
import {Status} from './jobstatus.tsx'
import {RunWith} from './runwith.tsx'
import classes from './job.module.css'

const route = getRouteApi('/app/jobs/$name')

export function JobPage() {
  const t = useT()
  const {name} = route.useParams()
  const query = useQuery(jobQuery(name))
  useTitle(name)
  if (query.isPending)
    return (
      <div className="page">
        <Loading />
      </div>
    )
  if (query.error instanceof Problem && query.error.status === 404) return <Gone name={name} />
  if (!query.data)
    return (
      <div className="page">
        <Trouble error={query.error} retry={() => query.refetch()} />
      </div>
    )
  const status = query.data
  return (
    <div className="page">
      <div className="head">
        <h1>{name}</h1>
        {status.job.title && <span className="dim">{status.job.title}</span>}
        <span className="grow" />
        <Actions status={status} />
      </div>
      <div className={classes.columns}>
        <div>
          <Runs name={name} />
        </div>
        <div>
          <Status status={status} />
          <section className="panel" aria-label={t.job.definition}>
            <Tabs defaultValue="definition" keepMounted={false}>
              <Tabs.List px="xs">
                <Tabs.Tab value="definition">{t.job.definition}</Tabs.Tab>
                <Tabs.Tab value="manifest">{t.job.manifest}</Tabs.Tab>
              </Tabs.List>
              <Tabs.Panel value="definition" className="body">
                <Definition job={status.job} />
              </Tabs.Panel>
              <Tabs.Panel value="manifest" className="body">
                <Code text={yaml({jobs: [status.job]})} label={t.job.manifest} />
              </Tabs.Panel>
            </Tabs>
          </section>
        </div>
      </div>
    </div>
  )
}

/** Days in a job's history. */
const heatDays = 60

function Runs({name}: {name: string}) {
  const t = useT()
  const filter = useMemo(() => ({job: name}), [name])
  const {data} = useInfiniteQuery(runsQuery(filter))
  const newest = data?.pages[0]?.items ?? []
  const history = useQuery(historyQuery(name, heatDays)).data?.items ?? []
  return (
    <>
      {history.length > 0 && (
        <section className="panel" aria-label={t.heat.title}>
          <header>
            <h2>{t.heat.title}</h2>
            <span className={`dim ${classes.small}`}>{t.heat.help(heatDays)}</span>
          </header>
          <div className="body">
            <Heat days={heatDays} history={history} />
          </div>
        </section>
      )}
      {newest.length > 0 && (
        <section className="panel" aria-label={t.overview.strip}>
          <header>
            <h2>{t.overview.strip}</h2>
            <span className={`dim ${classes.small}`}>{t.overview.stripHelp(Math.min(newest.length, 90))}</span>
          </header>
          <div className="body">
            <Strip runs={newest} most={90} />
          </div>
        </section>
      )}
      <RunsTable
        key={name}
        filter={filter}
        columns={['delay', 'trigger', 'agent']}
        title={t.job.runs}
        empty={
          <Empty title={t.jobs.noRun}>
            <p>{t.runs.empty}</p>
          </Empty>
        }
        extra={
          <Link to="/runs" search={filter} className={classes.small}>
            {t.overview.allRuns}
          </Link>
        }
      />
    </>
  )
}

function Actions({status}: {status: JobStatus}) {
  const t = useT()
  const navigate = useNavigate()
  const {name, paused = false} = status.job
  const {start, pause, remove} = useJobActions(name)
  const {data: session} = useQuery(sessionQuery)
  const [asking, {open, close}] = useDisclosure()
  const [chosen, choosing] = useDisclosure()
  const allowed = may(session?.role)
  return (
    <Group gap="xs">
      {allowed.run && (
        <>
          <Button
            size="xs"
            leftSection={<IconBolt size={14} />}
            loading={start.isPending}
            onClick={() => start.mutate()}
          >
            {t.jobs.run}
          </Button>
          <Button size="xs" variant="default" onClick={choosing.open}>
            {t.job.with}
          </Button>
          <Button
            size="xs"
            variant="default"
            loading={pause.isPending}
            onClick={() => pause.mutate(!paused)}
            leftSection={paused ? <IconPlayerPlay size={14} /> : <IconPlayerPause size={14} />}
          >
            {paused ? t.jobs.resume : t.jobs.pause}
          </Button>
        </>
      )}
      {allowed.edit && (
        <Button size="xs" variant="default" leftSection={<IconTrash size={14} />} onClick={open}>
          {t.job.delete}
        </Button>
      )}
      {chosen && (
        <RunWith
          job={name}
          busy={start.isPending}
          close={choosing.close}
          run={(options) => start.mutate(options, {onSuccess: choosing.close})}
        />
      )}
      <Modal
        opened={asking}
        onClose={close}
        title={t.job.deleteTitle(name)}
        closeButtonProps={{'aria-label': t.common.close}}
      >
        <p className={classes.ask}>{t.job.deleteText}</p>
        <Group justify="flex-end" gap="xs">
          <Button size="xs" variant="default" onClick={close} data-autofocus>
            {t.common.cancel}
          </Button>
          <Button
            size="xs"
            className={classes.danger}
            loading={remove.isPending}
            onClick={() => remove.mutate(undefined, {onSuccess: () => navigate({to: '/jobs'}), onError: close})}
          >
            {t.job.deleteDo}
          </Button>
        </Group>
      </Modal>
    </Group>
  )
}

function Gone({name}: {name: string}) {
  const t = useT()
  return (
    <div className="page">
      <div className="head">
        <h1>{name}</h1>
      </div>
      <section className="panel">
        <Empty title={t.job.gone}>
          <p>{t.job.goneHint}</p>
          <Group justify="center" gap="lg">
            <Link to="/jobs">{t.runs.toJobs}</Link>
            <Link to="/runs" search={{job: name}}>
              {t.job.goneRuns}
            </Link>
          </Group>
        </Empty>
      </section>
    </div>
  )
}
