/** What narrows runs, for each page that shows some of them. */
import {Button, Select, TextInput} from '@mantine/core'
import {useDebouncedValue} from '@mantine/hooks'
import {keepPreviousData, useQuery} from '@tanstack/react-query'
import {type ReactNode, useEffect, useState} from 'react'
import {type RunState, runStates, type Trigger, triggers} from '../api/client.ts'
import {type RunFilter, type Since, sinces} from '../api/fold.ts'
import {agentsQuery, jobNamesQuery} from '../api/queries.ts'
import {useT} from '../i18n/index.ts'
import {State} from '../ui/State.tsx'

interface Props {
  filter: RunFilter
  narrow: (by: Partial<RunFilter>) => void
  /** Takes all filters away; absent if there are none. */
  clear: (() => void) | undefined
  /** Whether the slash goes to the first of them. */
  first?: boolean
  label: string
  children?: ReactNode
}

export function RunFilters({filter, narrow, clear, first = false, label, children}: Props) {
  const t = useT()
  const clearButtonProps = {'aria-label': t.common.clearFilters}
  return (
    <div className="filters" role="search" aria-label={label}>
      {children}
      <JobSelect value={filter.job} onChange={(job) => narrow({job})} first={first} />
      <Select
        size="xs"
        w={140}
        clearable
        aria-label={t.runs.state}
        placeholder={t.runs.anyState}
        value={filter.state ?? null}
        data={runStates.map((value) => ({value, label: t.state[value]}))}
        renderOption={({option}) => <State state={option.value as RunState} />}
        onChange={(v) => narrow({state: (v ?? undefined) as RunState | undefined})}
        clearButtonProps={clearButtonProps}
      />
      <Select
        size="xs"
        w={140}
        clearable
        aria-label={t.runs.trigger}
        placeholder={t.runs.anyTrigger}
        value={filter.trigger ?? null}
        data={triggers.map((value) => ({value, label: t.trigger[value]}))}
        onChange={(v) => narrow({trigger: (v ?? undefined) as Trigger | undefined})}
        clearButtonProps={clearButtonProps}
      />
      <Select
        size="xs"
        w={140}
        clearable
        aria-label={t.runs.since}
        placeholder={t.runs.anyTime}
        value={filter.since ?? null}
        data={Object.keys(sinces).map((value) => ({value, label: t.runs.sinces[value as Since]}))}
        onChange={(v) => narrow({since: (v ?? undefined) as Since | undefined})}
        clearButtonProps={clearButtonProps}
      />
      <AgentSelect value={filter.agent} onChange={(agent) => narrow({agent})} />
      <TextFilter
        label={t.runs.group}
        placeholder={t.runs.anyGroup}
        value={filter.group}
        onChange={(group) => narrow({group})}
      />
      <TextFilter
        label={t.runs.label}
        placeholder={t.runs.labelForm}
        value={filter.label}
        onChange={(v) => narrow({label: v})}
      />
      <Button
        size="xs"
        variant={filter.to_handle ? 'light' : 'default'}
        aria-pressed={filter.to_handle !== undefined}
        onClick={() => narrow({to_handle: filter.to_handle ? undefined : '1'})}
      >
        {t.runs.toHandle}
      </Button>
      {clear && (
        <Button size="xs" variant="subtle" onClick={clear}>
          {t.common.clearFilters}
        </Button>
      )}
    </div>
  )
}

/** A text that counts when one has stopped typing. */
function TextFilter({
  label,
  placeholder,
  value = '',
  onChange,
}: {
  label: string
  placeholder: string
  value: string | undefined
  onChange: (v: string | undefined) => void
}) {
  const [typed, setTyped] = useState(value)
  const [settled] = useDebouncedValue(typed, 400)
  useEffect(() => setTyped(value), [value])
  useEffect(() => {
    if (settled === typed && settled.trim() !== value) onChange(settled.trim() || undefined)
    // Only what is typed asks for it; a value that comes from elsewhere is shown.
  }, [settled])
  return (
    <TextInput
      size="xs"
      w={130}
      aria-label={label}
      placeholder={placeholder}
      value={typed}
      onChange={(e) => setTyped(e.currentTarget.value)}
      onKeyDown={(e) => e.key === 'Enter' && onChange(typed.trim() || undefined)}
    />
  )
}

/** One job, by a name that is looked up at the server as it is typed. */
function JobSelect({
  value,
  onChange,
  first,
}: {
  value: string | undefined
  onChange: (v: string | undefined) => void
  first: boolean
}) {
  const t = useT()
  const [typed, setTyped] = useState(value ?? '')
  const [q] = useDebouncedValue(typed === value ? '' : typed, 200)
  const {data = []} = useQuery(jobNamesQuery(q))
  return (
    <Select
      size="xs"
      w={200}
      clearable
      searchable
      data-filter={first || undefined}
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
      w={160}
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
