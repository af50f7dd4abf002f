// Runs before the first paint, so that a page in the dark does not flash white: sets the colour scheme and the language
// that were chosen. A file of its own, since the content security policy allows no inline script.
(function () {
  var root = document.documentElement
  var scheme = null
  var lang = null
  try {
    scheme = localStorage.getItem('mantine-color-scheme-value')
    lang = localStorage.getItem('crony-lang')
  } catch {
    // Storage can be forbidden; the defaults do.
  }
  if (scheme !== 'light' && scheme !== 'dark') {
    scheme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'
  }
  root.setAttribute('data-mantine-color-scheme', scheme)
  if (lang === 'en' || lang === 'zh-CN') root.lang = lang
})()
