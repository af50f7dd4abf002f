import {Button, Select} from '@mantine/core'
import {useDebouncedValue} from '@mantine/hooks'
import {keepPreviousData, useQuery} from '@tanstack/react-query'
import {getRouteApi, Link, useNavigate} from '@tanstack/react-router'
import {useState} from 'react'
import {type RunState, runStates} from '../api/client.ts'
import {agentsQuery, jobNamesQuery} from '../api/queries.ts'
import {useT} from '../i18n/index.ts'
import {Empty, useTitle} from '../ui/Bits.tsx'
import {RunsTable} from '../ui/RunsTable.tsx'
import {State} from '../ui/State.tsx'

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
      <div className="filters" role="search" aria-label={t.runs.title}>
        <JobSelect value={filter.job} onChange={(job) => narrow({job})} />
        <Select
          size="xs"
          w={160}
          clearable
          aria-label={t.runs.state}
          placeholder={t.runs.anyState}
          value={filter.state ?? null}
          data={runStates.map((value) => ({value, label: t.state[value]}))}
          renderOption={({option}) => <State state={option.value as RunState} />}
          onChange={(v) => narrow({state: (v ?? undefined) as RunState | undefined})}
          clearButtonProps={{'aria-label': t.common.clearFilters}}
        />
        <AgentSelect value={filter.agent} onChange={(agent) => narrow({agent})} />
        {narrowed && (
          <Button size="xs" variant="subtle" onClick={() => navigate({search: {}})}>
            {t.common.clearFilters}
          </Button>
        )}
      </div>
      <RunsTable
        key={JSON.stringify(filter)}
        filter={filter}
        columns={['job', 'delay', 'trigger', 'agent']}
        title={t.runs.caption}
        empty={
          narrowed ? (
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

/** One job, by a name that is looked up at the server as it is typed. */
function JobSelect({value, onChange}: {value: string | undefined; onChange: (v: string | undefined) => void}) {
  const t = useT()
  const [typed, setTyped] = useState(value ?? '')
  const [q] = useDebouncedValue(typed === value ? '' : typed, 200)
  const {data = []} = useQuery(jobNamesQuery(q))
  return (
    <Select
      size="xs"
      w={240}
      clearable
      searchable
      data-filter
      aria-label={t.runs.job}
      placeholder={t.runs.anyJob}
      value={value ?? null}
      data={value && !data.includes(value) ? [value, ...data] : data}
      filter={({options}) => options}
      searchValue={typed}
      onSearchChange={setTyped}
      nothingFoundMessage={t.jobs.noMatchTitle}
      onChange={(v) => onChange(v ?? undefined)}
      clearButtonProps={{'aria-label': t.common.clearFilters}}
    />
  )
}

function AgentSelect({value, onChange}: {value: string | undefined; onChange: (v: string | undefined) => void}) {
  const t = useT()
  const {data} = useQuery({...agentsQuery, placeholderData: keepPreviousData})
  const agents = data?.items.map((a) => ({value: a.id, label: a.name})) ?? []
  // An agent that is gone has runs still.
  const known = !value || agents.some((a) => a.value === value)
  return (
    <Select
      size="xs"
      w={200}
      clearable
      searchable
      aria-label={t.runs.agent}
      placeholder={t.runs.anyAgent}
      value={value ?? null}
      data={known ? agents : [{value, label: value}, ...agents]}
      onChange={(v) => onChange(v ?? undefined)}
      clearButtonProps={{'aria-label': t.common.clearFilters}}
    />
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
