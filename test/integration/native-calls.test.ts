/**
 * The kernel's own calls in worker threads, and in programs in which koffi is missing.
 *
 * Invariants checked: a worker thread finds shared memory at the address at which its owner finds
 * it, and reads the same bytes there · without koffi, or with MMDUMP_NATIVE=0, nothing throws.
 */
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { buildSync } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addressOfView, hasNativeCalls } from '../../src/shared/native/library.ts';
import { MiB } from '../../src/shared/page.ts';
import { Memory } from '../../src/shared/wasm.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Reads what lies at the address of the buffer that it got, as the kernel sees it. */
const PROGRAM = `
  import { parentPort, workerData } from 'node:worker_threads';
  import { adviseHuge } from './huge-pages.js';
  import { addressOfView, hasNativeCalls, nativeFunction } from './library.js';
  const view = new Uint8Array(workerData);
  const target = new Uint8Array(new SharedArrayBuffer(8192));
  let address = 0;
  if (hasNativeCalls()) {
    address = addressOfView(view);
    const copy = nativeFunction('uintptr_t memcpy(uintptr_t to, uintptr_t from, size_t bytes)');
    copy(addressOfView(target), address, target.length);
  }
  parentPort.postMessage({ address, target, advised: adviseHuge(view) });
`;

interface Answer {
  readonly address: number;
  readonly target: Uint8Array;
  readonly advised: boolean;
}

let folder = '';

/** Builds the room into a folder, from which packages are found only if `packages` says so. */
function buildRoom(name: string, packages: boolean): string {
  const outdir = join(folder, name);
  buildSync({
    entryPoints: ['huge-pages', 'library'].map((file) =>
      join(ROOT, 'src/shared/native', `${file}.ts`),
    ),
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    outdir,
  });
  writeFileSync(join(outdir, 'package.json'), '{ "type": "module" }');
  writeFileSync(join(outdir, 'program.js'), PROGRAM);
  if (packages) symlinkSync(join(ROOT, 'node_modules'), join(outdir, 'node_modules'));
  return join(outdir, 'program.js');
}

async function ask(
  program: string,
  buffer: SharedArrayBuffer,
  env: NodeJS.ProcessEnv = process.env,
): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const worker = new Worker(program, { workerData: buffer, env });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}

let withPackages = '';
let without = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'mmdump-native-'));
  withPackages = buildRoom('with', true);
  without = buildRoom('without', false);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const buffers: readonly (readonly [string, () => SharedArrayBuffer])[] = [
  ['a SharedArrayBuffer', () => new SharedArrayBuffer(MiB)],
  [
    'a shared WebAssembly.Memory',
    () => new Memory({ initial: 16, maximum: 16, shared: true }).buffer,
  ],
];

describe.for(buffers)('%s in a worker thread', ([, make]) => {
  it.skipIf(!hasNativeCalls())('is at the same address, with the same bytes', async () => {
    const view = new Uint8Array(make());
    for (let at = 0; at < view.length; at++) view[at] = at * 7 + 1;
    const answer = await ask(withPackages, view.buffer as SharedArrayBuffer);
    expect(answer.address).toBe(addressOfView(view));
    expect(Buffer.compare(answer.target, view.subarray(0, 8192))).toBe(0);
  });

  it.each([
    ['koffi is missing', () => without, process.env],
    ['MMDUMP_NATIVE is 0', () => withPackages, { ...process.env, MMDUMP_NATIVE: '0' }],
  ])('stays as it is where %s', async (_, program, env) => {
    const answer = await ask(program(), make(), env);
    expect(answer).toMatchObject({ address: 0, advised: false });
  });
});
