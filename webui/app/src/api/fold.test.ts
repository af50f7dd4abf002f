import {describe, expect, it} from 'vitest'
import type {JobStatus, Run, RunPage, RunState} from './client.ts'
import {failing, foldLastRuns, foldRuns, labelsOf, later, matches, patchRuns} from './fold.ts'

function run(id: string, state: RunState = 'succeeded', more: Partial<Run> = {}): Run {
  return {
    id,
    state,
    job: 'hello',
    job_uid: 'u1',
    generation: 1,
    group: 'default',
    agent: 'a1',
    trigger: 'schedule',
    epoch: 1,
    scheduled_at: '2027-01-01T00:00:00Z',
    ...more,
  }
}

const page = (ids: string[], next?: string): RunPage => ({items: ids.map((id) => run(id)), next})
const ids = (pages: RunPage[]) => pages.map((p) => p.items.map((r) => r.id).join('')).join('|')

describe('matches', () => {
  it('holds a run against everything that a list is narrowed by', () => {
    const of = run('A', 'failed', {group: 'etl', trigger: 'manual', labels: {team: 'data', q: 'a=b'}})
    expect(matches(of, {group: 'etl', trigger: 'manual', label: 'team=data, q=a=b'})).toBe(true)
    expect(matches(of, {group: 'web'})).toBe(false)
    expect(matches(of, {trigger: 'schedule'})).toBe(false)
    expect(matches(of, {label: 'team=data,tier=gold'})).toBe(false)
    expect(matches(run('A'), {label: 'team=data'})).toBe(false)
    const now = new Date().toISOString()
    expect(matches(run('A', 'failed', {scheduled_at: now}), {since: '1h'})).toBe(true)
    expect(matches(run('A', 'failed', {scheduled_at: '2020-01-01T00:00:00Z'}), {since: '30d'})).toBe(false)
  })

  it('takes for a label what is one', () => {
    expect(labelsOf('a=b, c=,=d,e')).toEqual(['a=b', 'c='])
    expect(labelsOf('team')).toBeUndefined()
    expect(labelsOf(undefined)).toBeUndefined()
  })
})

describe('foldRuns', () => {
  it('puts new runs in by their ids', () => {
    expect(ids(foldRuns([page(['D', 'B'], 'x'), page(['A'])], {}, [run('E'), run('C')]))).toBe('EDCB|A')
  })

  it('adds what is older than everything only where no more pages follow', () => {
    expect(ids(foldRuns([page(['D', 'C'], 'x')], {}, [run('A')]))).toBe('DC')
    expect(ids(foldRuns([page(['D', 'C'])], {}, [run('A')]))).toBe('DCA')
    expect(ids(foldRuns([page([])], {}, [run('A')]))).toBe('A')
  })

  it('replaces in place and touches nothing else', () => {
    const before = [{items: [run('B', 'running'), run('A')], next: 'x'}, page(['0'])]
    const after = foldRuns(before, {}, [run('B', 'failed')])
    expect(after[0]!.items.map((r) => r.state)).toEqual(['failed', 'succeeded'])
    expect(after[0]!.items[1]).toBe(before[0]!.items[1])
    expect(after[1]).toBe(before[1])
  })

  it('keeps to the filter, and lets go of what no longer matches', () => {
    const running = [{items: [run('B', 'running')]}]
    expect(foldRuns(running, {state: 'running'}, [run('C', 'claimed')])).toBe(running)
    expect(ids(foldRuns(running, {state: 'running'}, [run('B', 'succeeded')]))).toBe('')
    expect(foldRuns(running, {job: 'hello'}, [run('C', 'running', {job: 'other'})])).toBe(running)
    expect(foldRuns(running, {agent: 'a1'}, [run('C', 'running', {agent: 'a2'})])).toBe(running)
  })

  it('does not go back to an earlier sight of a run', () => {
    const before = [page(['B'])]
    expect(foldRuns(before, {}, [run('B', 'running')])).toBe(before)
  })
})

describe('patchRuns', () => {
  it('puts nothing in', () => {
    const before = [{items: [run('B', 'running')]}]
    expect(patchRuns(before, {}, [run('C')])).toBe(before)
    expect(patchRuns(before, {}, [run('B', 'failed')])[0]!.items[0]!.state).toBe('failed')
  })
})

describe('later', () => {
  it.each<[string, Run, Run, 'known' | 'told']>([
    ['running after claimed', run('A', 'running'), run('A', 'claimed'), 'known'],
    ['ended after running', run('A', 'running'), run('A', 'failed'), 'told'],
    ['a lost run that is corrected', run('A', 'lost'), run('A', 'succeeded'), 'told'],
    ['a result after the end', run('A', 'succeeded', {result: 1}), run('A', 'succeeded'), 'known'],
    ['handled after the result', run('A', 'lost', {result: 1}), run('A', 'lost', {result: 1, handled: {at: ''}}), 'told'],
    ['handled before', run('A', 'lost', {result: 1, handled: {at: ''}}), run('A', 'lost', {result: 1}), 'known'],
    ['a second attempt, without a result yet', run('A', 'running', {result: 1}), run('A', 'running'), 'told'],
    [
      'a second attempt',
      run('A', 'running', {
        attempts: [
          {number: 1, started_at: '', ended_at: '', stdout_bytes: 0, stderr_bytes: 0},
          {number: 2, started_at: '', stdout_bytes: 0, stderr_bytes: 0},
        ],
      }),
      run('A', 'running', {attempts: [{number: 1, started_at: '', stdout_bytes: 0, stderr_bytes: 0}]}),
      'known',
    ],
  ])('%s', (_, known, told, want) => {
    expect(later(known, told)).toBe(want === 'known' ? known : told)
  })
})

function job(name: string, last?: Run): JobStatus {
  return {job: {name}, uid: 'u1', generation: 1, created_at: '', updated_at: '', plan_since: '', assigned: 0, last_run: last}
}

describe('foldLastRuns', () => {
  it('takes the newest run of each job, and only of the job as it is now', () => {
    const jobs = [job('hello', run('B')), job('other')]
    expect(foldLastRuns(jobs, [run('A'), run('C', 'failed')])[0]!.last_run!.id).toBe('C')
    expect(foldLastRuns(jobs, [run('A')])).toBe(jobs)
    expect(foldLastRuns(jobs, [run('C', 'failed', {job_uid: 'u0'})])).toBe(jobs)
    expect(foldLastRuns(jobs, [run('C', 'failed', {trigger: 'prepare'})])).toBe(jobs)
    expect(foldLastRuns(jobs, [run('C', 'failed', {job: 'other'})])[1]!.last_run!.id).toBe('C')
  })
})

describe('failing', () => {
  it.each<[RunState, boolean]>([
    ['claimed', false],
    ['running', false],
    ['succeeded', false],
    ['failed', true],
    ['timed_out', true],
    ['killed', true],
    ['lost', true],
    ['skipped', false],
  ])('%s: %s', (state, want) => {
    expect(failing(job('hello', run('A', state)))).toBe(want)
  })
})

describe('to be handled', () => {
  it('leaves the list when it is handled', () => {
    const waits = run('A', 'succeeded', {result: 1, to_handle: true})
    const handled = run('A', 'succeeded', {result: 1, handled: {at: '', by: 'alice'}})
    const filter = {to_handle: '1'} as const
    const pages = foldRuns([{items: []}], filter, [waits, run('B', 'succeeded', {result: 1})])
    expect(pages[0]!.items).toEqual([waits])
    expect(foldRuns(pages, filter, [handled])[0]!.items).toEqual([])
  })
})
