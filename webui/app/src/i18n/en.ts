import type {RunState} from '../api/client.ts'

const plural = new Intl.PluralRules('en')
const s = (n: number, one: string, other: string) => (plural.select(n) === 'one' ? one : other)

const states: Record<RunState, string> = {
  claimed: 'Claimed', running: 'Running', succeeded: 'Succeeded', failed: 'Failed',
  timed_out: 'Timed out', killed: 'Killed', lost: 'Lost', skipped: 'Skipped',
}

/** The English catalogue. Its shape is what every other one must have. */
export const en = {
  nav: {
    overview: 'Overview', jobs: 'Jobs', runs: 'Runs', search: 'Search', agents: 'Agents', main: 'Main', skip: 'Skip to the content',
    toggle: 'Menu', signOut: 'Sign out', signedIn: (name: string, role: string) => `${name} · ${role}`,
    scheme: 'Colours', light: 'Light', dark: 'Dark', auto: 'As the system', language: 'Language',
    shortcuts: 'Keyboard shortcuts',
  },
  roles: {viewer: 'viewer', operator: 'operator', editor: 'editor', admin: 'admin'},
  state: states,
  stateHelp: {
    claimed: 'An agent has the occurrence; nothing has started yet', running: 'An attempt is under way',
    succeeded: 'It ended with exit code 0',
    failed: 'It ended with another exit code or a signal, or could not be started',
    timed_out: 'Its timeout ended it', killed: 'A person ended it, or its agent stopped',
    lost: "Its agent can't say how it ended", skipped: 'It was never started, on purpose',
  } satisfies Record<RunState, string>,
  trigger: {schedule: 'Schedule', manual: 'By hand', reboot: 'Host booted'},
  common: {
    loadMore: 'Load more', loading: 'Loading…', copy: 'Copy', copied: 'Copied', cancel: 'Cancel', close: 'Close',
    clearFilters: 'Clear filters', retry: 'Try again', none: '–', details: 'Details', yes: 'yes', no: 'no',
  },
  link: {
    away: "The server can't be reached. What you see may be out of date; this page catches up by itself.",
    live: 'Live', connecting: 'Connecting…', offline: 'Not connected',
  },
  problem: {
    title: 'That did not work', network: "The server can't be reached.",
    networkHint: 'Check that it runs, and the network between here and it.',
    notFound: 'There is no such page', notFoundHint: 'The address may be mistyped.',
    line: (n: number) => `line ${n}`,
  },
  login: {
    title: 'Sign in to crony', token: 'API token', submit: 'Sign in', working: 'Signing you in…',
    help: 'Paste an API token, or open a one-time sign-in link.', linkHelp: 'Where do I get a link?',
    linkDev: 'prints one when it starts. A link signs in one browser, once.',
    spentTitle: 'This sign-in link does not work any more',
    spent:
      'Each link works once, and for a short time only. This one has been used, or its time is over. ' +
      'Get a new one, or use an API token.',
    refusedTitle: 'This token is not accepted', refused: 'Check that it was copied whole, and that it has not expired.',
    failedTitle: 'Signing in did not work', ended: 'Sign in to go on.', show: 'Show or hide the token',
  },
  overview: {
    title: 'Overview', jobs: 'Jobs', paused: 'Paused', unplaced: 'Without an agent', agents: 'Agents connected',
    running: 'Running now',
    newest: 'Newest runs', allRuns: 'All runs', failing: 'Failing jobs',
    noFailing: 'No job is failing.', noFailingYet: 'Nothing has run yet.',
    firstOnly: (n: string) => `Of the first ${n} jobs by name.`,
    server: 'This server', version: 'Version', cluster: 'Cluster', id: 'Server', leader: 'Leader',
    thisOne: 'this server',
    noLeader: 'none at the moment', up: 'Up for',
    strip: 'Outcomes',
    stripHelp: (n: number) => `The last ${n} ${s(n, 'run', 'runs')}, the newest at the right; the height is the duration`,
  },
  jobs: {
    title: 'Jobs', filter: 'Filter by name or title', group: 'Group', groupAny: 'Any group', show: 'Show',
    showAll: 'All jobs', showPaused: 'Paused', showUnplaced: 'Without an agent',
    name: 'Name', schedule: 'Schedule', next: 'Next', last: 'Last run', agent: 'Agent', actions: 'Actions',
    paused: 'Paused', waiting: 'Waiting for an agent', byHandOnly: 'By hand only', noRun: 'Has not run yet',
    run: 'Run now', runOf: (job: string) => `Run ${job} now`, pause: 'Pause', pauseOf: (job: string) => `Pause ${job}`,
    resume: 'Resume', resumeOf: (job: string) => `Resume ${job}`, more: (n: number) => `and ${n} more`,
    due: 'due now', searching: 'Looking through all jobs…',
    shown: (n: number, more: boolean) => `${n}${more ? '+' : ''} ${s(n, 'job', 'jobs')}`,
    emptyTitle: 'No jobs yet', empty: 'Write down what should run and when, and apply it:', emptyThen: 'then',
    noMatchTitle: 'No job matches', noMatch: 'Nothing has this name, title or group.',
    noPaused: 'No job is paused.', noUnplaced: 'Every job has its agent.',
  },
  job: {
    started: (job: string) => `${job} was told to run`, openRun: 'Open the run',
    pausedNow: (job: string) => `${job} is paused`,
    resumedNow: (job: string) => `${job} goes on`, deleted: (job: string) => `${job} was deleted`,
    delete: 'Delete', deleteTitle: (job: string) => `Delete ${job}?`,
    deleteText: 'Its schedule ends and its definition is gone. Runs that go on are not ended, and past runs stay.',
    deleteDo: 'Delete the job', gone: 'There is no such job',
    goneHint: 'It may have been deleted or renamed. Its past runs are still there.',
    goneRuns: 'Runs by that name', status: 'Status', definition: 'Definition', manifest: 'Manifest', runs: 'Runs',
    group: 'Group', owner: 'Owner', labels: 'Labels', note: 'Note', active: 'Active', paused: 'Paused',
    next: 'Next occurrence', last: 'Last run', agent: 'Agent', why: 'Why there', whyWaiting: 'Why',
    agents: (n: number) => `${n} agents`, moreAgents: (n: number) => `and ${n} more`,
    changed: 'Last change', by: (who: string) => `by ${who}`,
    when: 'When', where: 'Where', rules: 'Rules',
    nothing: 'No schedule: it runs only when told to.', jitter: 'Jitter',
    from: 'From', until: 'Until', calendars: 'Calendars', misfire: 'Missed occurrences',
    misfires: {skip: 'are left out', once: 'the latest is made up for', all: 'all are made up for'},
    misfireIn: (d: string) => `within ${d}`, misfireMost: (n: number) => `at most ${n}`,
    calendar: {skip: 'left out on days off', 'next-working-day': 'moved to the next working day'},
    mode: 'Agents',
    modes: {one: 'one agent; another takes over', each: 'each matching agent', race: 'whichever claims first'},
    pinned: 'Only on', selector: 'Labels wanted', exclude: 'Never on', strategy: 'Chosen by',
    strategies: {weighted_round_robin: 'turns, by weight', least_jobs: 'fewest jobs'},
    failover: 'Moves if its agent is down',
    overlap: 'If it still runs', overlaps: {
      allow: 'starts another beside it', forbid: 'the new one is skipped', queue: 'the new one waits',
      replace: 'the old one is ended',
    },
    parallel: 'At most at a time', disconnect: 'If its agent is cut off',
    disconnects: {run: 'it goes on', hold: 'nothing new starts', stop: 'what runs is ended'},
    lost: 'If a run is lost', losts: {fail: 'it counts as failed', rerun: 'it is run again'},
    timeout: 'Timeout', grace: 'From TERM to KILL', retry: 'Attempts',
    backoff: (kind: 'fixed' | 'exponential', interval: string) =>
      kind === 'fixed' ? `${interval} apart` : `${interval} apart at first, longer each time`,
    retryOn: 'Tried again if', scripts: 'Scripts before', notify: 'Tells', retention: 'Kept',
    keep: (n: number) => `${n} runs`,
    shell: 'Command', script: 'Script', argv: 'Program', interpreter: 'Interpreter', user: 'User', cwd: 'Directory',
    env: 'Environment',
    secrets: 'Secrets', stdin: 'Input', umask: 'Umask', limits: 'Limits', http: 'Request', headers: 'Headers',
    body: 'Body',
    expect: 'Expected', tls: 'TLS', grpc: 'Call', metadata: 'Metadata', request: 'Message', async: 'Answers later',
    memory: 'memory', cores: 'cores', pids: 'processes', output: 'output kept',
  },
  runs: {
    title: 'Runs', caption: 'Runs, the newest first', state: 'State', job: 'Job', agent: 'Agent', due: 'Due',
    delay: 'Delay', duration: 'Duration',
    trigger: 'Trigger', result: 'Result', since: 'Time', group: 'Group', label: 'Label',
    anyTrigger: 'Any trigger', anyTime: 'Any time', anyGroup: 'Any group', labelForm: 'label=value',
    sinces: {'1h': 'Last hour', '24h': 'Last 24 hours', '7d': 'Last 7 days', '30d': 'Last 30 days'},
    anyState: 'Any state', anyJob: 'Any job', anyAgent: 'Any agent',
    by: (who: string) => `by ${who}`, exit: (code: number) => `exit ${code}`, attempts: (n: number) => `${n} attempts`,
    emptyTitle: 'Nothing has run yet', empty: 'A run appears here when a job comes due, or when you run one.',
    toJobs: 'To the jobs', noMatchTitle: 'No run matches', noMatch: 'There is no run to which all of this applies.',
    pause: 'Pause updates', resume: 'Resume updates',
    waiting: (n: number) => `${n} new ${s(n, 'run', 'runs')}`,
    open: (job: string, state: string) => `${job}, ${state}: open the run`,
  },
  search: {
    title: 'Search output', text: 'Text to look for', textHint: 'A text, in this case', go: 'Search', regexp: 'Pattern (RE2)',
    patternHint: 'A regular expression, as took [0-9]{4,}ms', whose: 'Whose output', results: 'What was found',
    startTitle: 'What did a run print?',
    start: 'All that is kept of the output of runs is looked through, the newest run first.',
    found: (n: number, more: boolean) => `${n}${more ? '+' : ''} ${s(n, 'line', 'lines')}`,
    looked: (size: string, runs: string, one: boolean) => `Looked at ${size} of ${runs} ${one ? 'run' : 'runs'}`,
    backTo: ', back to', stop: 'Stop', noneTitle: 'Nothing was found',
    none: 'No line of the kept output has it.', noneYet: 'Not so far; there is more to look at.',
    open: (line: string) => `${line}: open the run at this line`,
  },
  heat: {
    title: 'The last days', nothing: 'nothing ran',
    counts: (ran: string, bad: string) => `${ran} ran, ${bad} did not succeed`,
    took: (half: string, most: string) => `half took up to ${half}, nine in ten up to ${most}`,
    help: (days: number) => `How runs ended on each of the last ${days} days (UTC), today at the right`,
    hours: 'Runs in each of the last 24 hours, and how many of them did not succeed', day: 'The last 24 hours',
    today: 'Today (UTC)',
  },
  run: {
    labels: 'Labels',
    title: (job: string) => `Run of ${job}`, gone: 'There is no such run',
    goneHint: 'It may be older than what is kept.',
    coming: 'The run is ordered', comingText: 'Its agent is about to take the order. This page goes on by itself.',
    due: 'Due', asked: 'Asked for', started: 'Started', endedAt: 'Ended', duration: 'Duration', delay: 'Start delay',
    notStarted: 'not started', goesOn: 'goes on', agent: 'Agent', trigger: 'Trigger', id: 'Id',
    generation: 'Definition',
    gen: (n: number) => `generation ${n}`,
    attempts: 'Attempts', attempt: 'Attempt', exit: 'Exit', cpu: 'CPU', memory: 'Peak memory', stdout: 'stdout',
    stderr: 'stderr', pid: 'PID',
    output: 'Output', follow: 'Follow', wrap: 'Wrap', download: 'Download', err: 'err',
    outputLabel: 'Output of the run', attemptN: (n: number) => `Attempt ${n}`,
    gap: (n: string) => `… ${n} not kept …`, earlier: (n: string, all: string) => `Show ${n} earlier of ${all} lines`,
    showAll: (n: string) => `Show all ${n} lines`,
    dropped: (n: string) => `The first ${n} lines are left out here; the download has them.`,
    noOutput: 'It has written nothing.', waiting: 'Waiting for output…',
    lines: (n: string, one: boolean) => (one ? `${n} line` : `${n} lines`),
    broken: "The output can't be read just now. Trying again…", never: 'It never started, so there is no output.',
  },
  agents: {
    title: 'Agents', name: 'Name', host: 'Host', system: 'System', version: 'Version', labels: 'Labels',
    weight: 'Weight', jobs: 'Jobs',
    running: 'Running', since: 'Connected', server: 'Server', caption: 'The agents that are connected',
    connected: 'Connected',
    emptyTitle: 'No agent is connected', empty: 'Jobs run on agents. Start crony-agent on a host, and it appears here.',
  },
  keys: {
    title: 'Keyboard shortcuts', help: 'This sheet', filter: 'Go to the filter', pause: 'Pause or go on with live rows',
    between: 'then', enabled: 'Use these shortcuts',
  },
}

type Widen<T> = T extends string
  ? string
  : T extends (...args: infer A) => string
    ? (...args: A) => string
    : {[K in keyof T]: Widen<T[K]>}

/** Messages is what a catalogue must have. */
export type Messages = Widen<typeof en>
