import createClient from 'openapi-fetch'
import type {components, paths} from './api.gen.ts'

type Schemas = components['schemas']
export type Job = Schemas['Job']
export type JobStatus = Schemas['JobStatus']
export type Assignment = Schemas['Assignment']
export type StartOptions = Schemas['StartOptions']
export type Lock = Schemas['Lock']
export type JobPage = Schemas['JobPage']
export type Run = Schemas['Run']
export type RunPage = Schemas['RunPage']
export type RunState = Schemas['RunState']
export type Attempt = Schemas['Attempt']
export type AgentStatus = Schemas['AgentStatus']
export type AgentChange = Schemas['AgentChange']
export type HostFigures = Schemas['HostFigures']
export type Server = Schemas['Server']
export type Session = Schemas['Session']
export type ScheduleEntry = Schemas['ScheduleEntry']
export type OutputHit = Schemas['OutputHit']
export type OutputPage = Schemas['OutputPage']
export type DayFigures = Schemas['DayFigures']
export type HourFigures = Schemas['HourFigures']
export type RunCounts = Schemas['RunCounts']
export type Overview = Schemas['Overview']
export type Trigger = Run['trigger']
export type OutputChunk = Schemas['OutputChunk']
type ProblemBody = Schemas['Problem']

/** The states a run can be in, in the order in which a filter offers them. */
export const runStates = [
  'claimed',
  'running',
  'waiting',
  'succeeded',
  'failed',
  'timed_out',
  'killed',
  'lost',
  'skipped',
] as const satisfies readonly RunState[]

/** What a run can be triggered by. */
export const triggers = ['schedule', 'manual', 'reboot', 'prepare'] as const satisfies readonly Trigger[]

/** Problem is an answer of the server that a person may read. */
export class Problem extends Error {
  readonly status: number
  readonly code: ProblemBody['code']
  readonly hint: string | undefined
  readonly faults: NonNullable<ProblemBody['faults']>

  constructor(status: number, body: Partial<ProblemBody>) {
    super(body.detail || body.title || `HTTP ${status}`)
    this.name = 'Problem'
    this.status = status
    this.code = body.code ?? 'internal'
    this.hint = body.hint
    this.faults = body.faults ?? []
  }
}

/** Client speaks the REST API with the session's cookie. */
export const client = createClient<paths>({baseUrl: '/api/v1', credentials: 'same-origin'})

interface Answer<T> {
  data?: T
  error?: unknown
  response: Response
}

/** Unwraps an answer: its data, or its Problem thrown. A server that can't be reached rejects with fetch's TypeError. */
export async function unwrap<T>(answer: Promise<Answer<T>>): Promise<T> {
  const {data, error, response} = await answer
  if (response.ok) return data as T
  throw new Problem(response.status, typeof error === 'object' && error !== null ? error : {})
}

/** Says whether err means that nobody is signed in. */
export function unauthorized(err: unknown): boolean {
  return err instanceof Problem && err.status === 401
}
