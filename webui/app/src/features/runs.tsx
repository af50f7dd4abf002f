import {getRouteApi, Link, useNavigate} from '@tanstack/react-router'
import {useT} from '../i18n/index.ts'
import {Empty, useTitle} from '../ui/Bits.tsx'
import {RunsTable} from '../ui/RunsTable.tsx'
import {RunFilters} from './filters.tsx'

const route = getRouteApi('/app/runs')

export function RunsPage() {
  const t = useT()
  const filter = route.useSearch()
  const navigate = useNavigate({from: '/runs'})
  const narrow = (by: Partial<typeof filter>) => navigate({search: (now) => ({...now, ...by})})
  const narrowed = Object.values(filter).some((v) => v !== undefined)
  useTitle(t.runs.title)
  return (
    <div className="page">
      <div className="head">
        <h1>{t.runs.title}</h1>
      </div>
      <RunFilters
        filter={filter}
        narrow={narrow}
        clear={narrowed ? () => navigate({search: {}}) : undefined}
        first
        label={t.runs.title}
      />
      <RunsTable
        key={JSON.stringify(filter)}
        filter={filter}
        columns={['job', 'delay', 'trigger', 'agent']}
        title={t.runs.caption}
        empty={
          filter.to_handle ? (
            <Empty title={t.runs.noneToHandleTitle}>
              <p>{t.runs.noneToHandle}</p>
            </Empty>
          ) : narrowed ? (
            <Empty title={t.runs.noMatchTitle}>
              <p>{t.runs.noMatch}</p>
            </Empty>
          ) : (
            <NoRuns />
          )
        }
      />
    </div>
  )
}

export function NoRuns() {
  const t = useT()
  return (
    <Empty title={t.runs.emptyTitle}>
      <p>{t.runs.empty}</p>
      <Link to="/jobs">{t.runs.toJobs}</Link>
    </Empty>
  )
}
