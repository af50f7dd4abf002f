/** The page's words, in the reader's language. The compiler holds each catalogue against the English one. */
import {useSyncExternalStore} from 'react'
import type {Lang} from '../lib/time.ts'
import {en, type Messages} from './en.ts'
import {zhCN} from './zh-CN.ts'

const catalogues: Record<Lang, Messages> = {en, 'zh-CN': zhCN}

/** The languages, each by its own name. */
export const languages: Record<Lang, string> = {en: 'English', 'zh-CN': '简体中文'}

const stored = 'crony-lang'
const listeners = new Set<() => void>()
let lang: Lang = initial()

function initial(): Lang {
  const chosen = read()
  if (chosen === 'en' || chosen === 'zh-CN') return chosen
  const first = navigator.languages.find((l) => /^(en|zh)\b/i.test(l))
  return first && /^zh/i.test(first) ? 'zh-CN' : 'en'
}

function read(): string | null {
  try {
    return localStorage.getItem(stored)
  } catch {
    return null
  }
}

/** The language in use. */
export function language(): Lang {
  return lang
}

/** Changes the language of everything, and keeps it for the next visit. */
export function setLanguage(to: Lang): void {
  lang = to
  document.documentElement.lang = to
  try {
    localStorage.setItem(stored, to)
  } catch {
    // Storage can be forbidden; then the choice lasts as long as the page.
  }
  for (const listener of listeners) listener()
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

export function useLang(): Lang {
  return useSyncExternalStore(subscribe, language)
}

export function useT(): Messages {
  return catalogues[useLang()]
}
