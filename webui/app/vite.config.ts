import react from '@vitejs/plugin-react'
import {defineConfig} from 'vite'
import {precompress} from './precompress.ts'

export default defineConfig({
  plugins: [react(), precompress()],
  // The server puts a fresh nonce in this one's place with every response.
  html: {cspNonce: '__CSP_NONCE__'},
  build: {
    outDir: '../dist/app',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    // The style sheets use light-dark() as it is; these are the first browsers that know it.
    target: ['chrome123', 'firefox121', 'safari17.5'],
    modulePreload: {polyfill: false},
    chunkSizeWarningLimit: 1000,
  },
  server: {
    host: '127.0.0.1',
    proxy: {'/api': 'http://127.0.0.1:8470'},
  },
})
