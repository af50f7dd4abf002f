/** Keyboard shortcuts of single keys. They are off while somebody types, and can be switched off altogether (WCAG 2.1.4). */
import {useEffect, useRef, useSyncExternalStore} from 'react'

const stored = 'crony-keys'
const listeners = new Set<() => void>()
let enabled = read()

function read(): boolean {
  try {
    return localStorage.getItem(stored) !== 'off'
  } catch {
    return true
  }
}

export function setKeysEnabled(on: boolean): void {
  enabled = on
  try {
    localStorage.setItem(stored, on ? 'on' : 'off')
  } catch {
    // Storage can be forbidden; then the choice lasts as long as the page.
  }
  for (const listener of listeners) listener()
}

export function useKeysEnabled(): boolean {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => enabled,
  )
}

function typing(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable ||
      /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) ||
      target.closest('[role=dialog],[role=listbox],[role=menu]') !== null)
  )
}

/** Milliseconds in which the second key of a pair has to follow. */
const pairWithin = 1200

/** Calls the function of a key, `/`, or of a pair of keys, `g j`, while the component is shown. */
export function useKeys(keys: Record<string, () => void>): void {
  const latest = useRef(keys)
  latest.current = keys
  useEffect(() => {
    let first = ''
    let at = 0
    const press = (e: KeyboardEvent) => {
      if (!enabled || e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || typing(e.target)) return
      const pair = e.timeStamp - at < pairWithin ? `${first} ${e.key}` : ''
      first = e.key
      at = e.timeStamp
      const call = latest.current[pair] ?? latest.current[e.key]
      if (!call) return
      e.preventDefault()
      call()
    }
    document.addEventListener('keydown', press)
    return () => document.removeEventListener('keydown', press)
  }, [])
}
