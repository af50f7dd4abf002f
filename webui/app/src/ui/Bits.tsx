/** The small things every page is made of. */
import {ActionIcon, Button, CopyButton, Loader} from '@mantine/core'
import {IconCheck, IconCopy} from './icons.ts'
import {Link} from '@tanstack/react-router'
import {type ReactNode, useEffect} from 'react'
import {useT} from '../i18n/index.ts'

/** Sets the tab's title while it is shown. */
export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · crony`
  }, [title])
}

export function Copy({value, label}: {value: string; label?: string}) {
  const t = useT()
  return (
    <CopyButton value={value}>
      {({copied, copy}) => (
        <ActionIcon
          variant="default"
          size="sm"
          onClick={copy}
          aria-label={copied ? t.common.copied : (label ?? t.common.copy)}
          title={copied ? t.common.copied : t.common.copy}
        >
          {copied ? <IconCheck size={14} /> : <IconCopy size={14} />}
        </ActionIcon>
      )}
    </CopyButton>
  )
}

/** Text to read as it is, and to copy. */
export function Code({text, label}: {text: string; label: string}) {
  return (
    <div className="coded">
      <pre className="code" tabIndex={0} role="region" aria-label={label}>
        {text}
      </pre>
      <Copy value={text} />
    </div>
  )
}

export function Empty({title, children}: {title: string; children?: ReactNode}) {
  return (
    <div className="empty">
      <h3>{title}</h3>
      {children}
    </div>
  )
}

export function Loading() {
  const t = useT()
  return (
    <div className="empty" role="status">
      <Loader size="sm" color="gray" aria-hidden />
      <p>{t.common.loading}</p>
    </div>
  )
}

/** A panel's foot that brings the next page of a list. */
export function LoadMore({onClick, busy}: {onClick: () => void; busy: boolean}) {
  const t = useT()
  return (
    <div className="foot">
      <Button variant="default" size="xs" onClick={onClick} loading={busy}>
        {t.common.loadMore}
      </Button>
    </div>
  )
}

export function JobLink({name}: {name: string}) {
  return (
    <Link to="/jobs/$name" params={{name}}>
      {name}
    </Link>
  )
}
