import {describe, expect, it} from 'vitest'
import {yaml} from './yaml.ts'

describe('yaml', () => {
  it('writes a manifest as a person would', () => {
    expect(
      yaml({
        jobs: [
          {
            name: 'backup',
            title: '每日备份',
            labels: {team: 'data'},
            schedules: [{cron: '*/5 * * * *', timezone: 'Europe/Berlin'}, {every: '6h'}],
            retry: {attempts: 3, on: ['failed', 'lost']},
            placement: {selector: 'role=db,zone!=z3', failover: true},
            limits: {cpu: 1.5},
            empty: [],
            shell: {script: '#!/bin/sh\nset -e\n\n  dump "$1"\n', umask: '0027', command: 'a: b # c', stdin: ''},
          },
        ],
      }),
    ).toBe(`jobs:
  - name: backup
    title: 每日备份
    labels:
      team: data
    schedules:
      - cron: "*/5 * * * *"
        timezone: Europe/Berlin
      - every: 6h
    retry:
      attempts: 3
      "on":
        - failed
        - lost
    placement:
      selector: role=db,zone!=z3
      failover: true
    limits:
      cpu: 1.5
    empty: []
    shell:
      script: |
        #!/bin/sh
        set -e

          dump "$1"
      umask: "0027"
      command: "a: b # c"
      stdin: ""
`)
  })

  it.each([
    'true',
    'No',
    '~',
    '1e3',
    '0x1f',
    '-5',
    '.inf',
    '12:30',
    '2027-01-01',
    '2027-01-01T00:00:00Z',
    '1_000',
    '0o17',
    '+1.5',
    ' padded',
    'padded ',
    '- dash',
    '[x]',
    '{x}',
    '&a',
    '*a',
    '!t',
    '|',
    '>',
    "'q'",
    '"q"',
    '%d',
    '@at x',
    '`x`',
    'key: value',
    'trailing:',
    'a #b',
    'tab\there',
    'nul\u0000',
    'line\r\nend',
    '? x',
    '#c',
    ',x',
  ])('quotes %j', (text) => {
    expect(yaml({k: text})).toBe(`k: ${JSON.stringify(text)}\n`)
  })

  it('keeps the end of a text: one line break, none, or more', () => {
    expect(yaml({k: 'a\nb\n'})).toBe('k: |\n  a\n  b\n')
    expect(yaml({k: 'a\nb'})).toBe('k: |-\n  a\n  b\n')
    expect(yaml({k: 'a\nb\n\n'})).toBe('k: "a\\nb\\n\\n"\n')
    expect(yaml({k: '  a\nb'})).toBe('k: "  a\\nb"\n')
  })
})
