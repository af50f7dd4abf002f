import {readFileSync, readdirSync, writeFileSync} from 'node:fs'
import {join} from 'node:path'
import {brotliCompressSync, constants, gzipSync} from 'node:zlib'
import type {Plugin} from 'vite'

/** Files under this size gain nothing: they fit into the packets that carry the headers. */
const worthwhile = 1024

/**
 * Writes a .br and a .gz beside each built asset, so that the server compresses nothing itself. index.html is left alone:
 * each response carries its own nonce.
 */
export function precompress(): Plugin {
  let outDir = ''
  return {
    name: 'precompress',
    apply: 'build',
    configResolved(config) {
      outDir = config.build.outDir
    },
    closeBundle() {
      for (const name of readdirSync(outDir, {recursive: true, encoding: 'utf8'})) {
        if (!/\.(js|css|svg)$/.test(name)) continue
        const file = join(outDir, name)
        const data = readFileSync(file)
        if (data.length < worthwhile) continue
        writeFileSync(`${file}.br`, brotliCompressSync(data, {params: {[constants.BROTLI_PARAM_QUALITY]: 11}}))
        writeFileSync(`${file}.gz`, gzipSync(data, {level: 9}))
      }
    },
  }
}
