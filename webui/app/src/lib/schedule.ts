import type {Job, ScheduleEntry} from '../api/client.ts'

/** A job's schedule entries, the short form's first. */
export function entries(job: Job): ScheduleEntry[] {
  return [...(job.schedule ? [{cron: job.schedule}] : []), ...(job.schedules ?? [])]
}

/** An entry in the words of a schedule, which are the same in each language: "30 2 * * *", "@every 6h", "@at 2027-…". */
export function entryText(entry: ScheduleEntry): string {
  if (entry.cron) return entry.cron
  if (entry.every) return `@every ${entry.every}`
  return `@at ${(entry.at ?? []).join(', ')}`
}

/** What a job runs: the key that is set. */
export function kind(job: Job): 'shell' | 'http' | 'grpc' {
  return job.http ? 'http' : job.grpc ? 'grpc' : 'shell'
}
