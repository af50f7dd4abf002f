import {createTheme, type CSSVariablesResolver} from '@mantine/core'

export const theme = createTheme({
  primaryColor: 'iris',
  primaryShade: {light: 7, dark: 6},
  colors: {
    iris: [
      '#f0f2fc',
      '#dfe3f8',
      '#bcc4f0',
      '#a3aeeb',
      '#93a0ea',
      '#6375dd',
      '#586bdb',
      '#475ac3',
      '#3e50af',
      '#32449b',
    ],
    dark: [
      '#d3d7e0',
      '#b3b8c4',
      '#989eac',
      '#7b8191',
      '#4a5060',
      '#363b48',
      '#272b35',
      '#1a1d24',
      '#14161c',
      '#0e1014',
    ],
  },
  fontFamily:
    '-apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans SC", "Noto Sans CJK SC", "PingFang SC", ' +
    '"Microsoft YaHei", system-ui, sans-serif',
  fontFamilyMonospace:
    'ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Noto Sans Mono CJK SC", monospace',
  defaultRadius: 'md',
  fontSizes: {xs: '0.75rem', sm: '0.8125rem', md: '0.875rem', lg: '1rem', xl: '1.125rem'},
  headings: {fontWeight: '600'},
  respectReducedMotion: true,
  cursorType: 'pointer',
})

/** The kit's greys for secondary text are too pale for WCAG AA; these have 4.5:1 on the page and on a panel. */
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    '--mantine-color-dimmed': '#596171',
    '--mantine-color-placeholder': '#667080',
    '--mantine-color-error': '#b3261e',
  },
  dark: {
    '--mantine-color-dimmed': '#a0a6b4',
    '--mantine-color-placeholder': '#9097a6',
    '--mantine-color-error': '#ff8a80',
  },
})
