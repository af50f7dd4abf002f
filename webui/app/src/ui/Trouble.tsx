import {Alert, Button, Group} from '@mantine/core'
import {IconAlertTriangle} from './icons.ts'
import type {ReactNode} from 'react'
import {Problem} from '../api/client.ts'
import type {Messages} from '../i18n/en.ts'
import {useT} from '../i18n/index.ts'

/** What to tell of an error: what was refused, what to do, and each fault of what was sent. */
export function explain(t: Messages, err: unknown): {detail: string; hint: string | undefined; faults: string[]} {
  if (err instanceof Problem) {
    const faults = err.faults.map((f) =>
      [f.line ? t.problem.line(f.line) : '', f.path ?? '', f.hint ? `${f.message} (${f.hint})` : f.message]
        .filter((p) => p !== '')
        .join(': '),
    )
    return {detail: err.message, hint: err.hint, faults}
  }
  if (err instanceof TypeError) return {detail: t.problem.network, hint: t.problem.networkHint, faults: []}
  return {detail: String(err), hint: undefined, faults: []}
}

/** An error in place of what could not be shown. */
export function Trouble({
  error,
  title,
  retry,
  children,
}: {
  error: unknown
  title?: string
  retry?: () => void
  children?: ReactNode
}) {
  const t = useT()
  const {detail, hint, faults} = explain(t, error)
  return (
    <Alert
      color="red"
      variant="light"
      icon={<IconAlertTriangle size={18} />}
      title={title ?? t.problem.title}
      role="alert"
    >
      <p style={{margin: 0}}>{detail}</p>
      {hint && <p style={{margin: '4px 0 0'}}>{hint}</p>}
      {faults.length > 0 && (
        <ul>
          {faults.map((f) => (
            <li key={f}>{f}</li>
          ))}
        </ul>
      )}
      {(retry || children) && (
        <Group mt="sm" gap="sm">
          {retry && (
            <Button size="xs" variant="default" onClick={retry}>
              {t.common.retry}
            </Button>
          )}
          {children}
        </Group>
      )}
    </Alert>
  )
}
