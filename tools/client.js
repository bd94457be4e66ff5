/**
 * Build `dist/`, the classic script, and `types/`, the declarations.
 *
 *   node tools/client.js          write them, and print the size of the script
 *   node tools/client.js --check  fail when the files differ from what the sources build
 */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const ROOT = join(import.meta.dirname, '..');
const CLIENT = join(ROOT, 'client');
// Bytes, gzipped. Socket.IO's client, which has WebSocket and long-poll only, has 14,631 in the same form.
const MAX_SIZE = 10.5 * 1024;

// Not those by which a script and that of shared connections know each other.
const OWN_NAMES = /^(openAddress|readAddress|postAddress|closeWith|arriving|ackTimer|waitsFor|refuseLargest|fireIncoming|fireOutgoing|replyTo|errorFirst|transmit|ask)$/;
const LICENCE = '/*! rtpush, MIT */';
const SHARED = './rtpush.shared.min.js';

/** The module for shared connections, which few pages need, is a script of its own, loaded on demand. */
const sharedModule = {
  name: 'shared-module',
  setup: ({ onResolve }) => onResolve({ filter: /\/shared\.js$/ }, ({ kind }) => (kind === 'dynamic-import' ? { path: SHARED, external: true } : null)),
};

async function make(folder) {
  const script = join(folder, 'dist/rtpush.min.js');
  const common = { bundle: true, minify: true, format: 'esm', target: ['es2022'], logLevel: 'warning' };
  // What only Node needs is left out, and names that only the modules of one script use are short.
  const inBrowsers = { define: { 'globalThis.process': 'undefined' }, mangleProps: OWN_NAMES };
  // A module without exports, inside a function: for a classic script esbuild would add code that loads modules.
  const wrapped = { banner: { js: `${LICENCE}(()=>{` }, footer: { js: '})();' } };
  await build({ ...common, ...inBrowsers, ...wrapped, entryPoints: [join(CLIENT, 'classic.js')], outfile: script, plugins: [sharedModule] });
  await build({ ...common, ...inBrowsers, banner: { js: LICENCE }, entryPoints: [join(CLIENT, 'rtpush/shared.js')], outfile: join(folder, 'dist', SHARED) });
  // For `require`, which gives `io` itself, as with Socket.IO's client.
  const callable = { js: 'module.exports=Object.assign(module.exports.io,module.exports);' };
  await build({ ...common, format: 'cjs', banner: { js: LICENCE }, footer: callable, entryPoints: [join(CLIENT, 'rtpush.js')], outfile: join(folder, 'dist/rtpush.cjs'), plugins: [sharedModule] });
  execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', ROOT, '--outDir', join(folder, 'types')], { stdio: 'inherit' });
  return gzipSync(readFileSync(script), { level: 9 }).length;
}

function filesOf(folder) {
  const names = ['dist', 'types'].flatMap((name) => readdirSync(join(folder, name), { recursive: true }).map((file) => join(name, file)));
  return new Map(names.filter((name) => /\.\w+$/.test(name)).sort().map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
}

async function check() {
  const folder = mkdtempSync(join(tmpdir(), 'rtpush-'));
  const size = await make(folder);
  const [made, there] = [filesOf(folder), filesOf(CLIENT)];
  rmSync(folder, { recursive: true });
  const stale = [...new Set([...made.keys(), ...there.keys()])].filter((name) => made.get(name) !== there.get(name));
  if (stale.length > 0) throw new Error(`stale: ${stale.join(', ')}; run: npm run build`);
  return size;
}

function clean() {
  for (const name of ['dist', 'types']) rmSync(join(CLIENT, name), { recursive: true, force: true });
}

const checking = process.argv.includes('--check');
if (!checking) clean();
const size = checking ? await check() : await make(CLIENT);
console.log(`dist/rtpush.min.js: ${size} bytes gzipped, of at most ${MAX_SIZE}`);
if (size > MAX_SIZE) throw new Error('the classic script has grown too large');
