/**
 * The kernel's own calls, on this thread.
 *
 * Invariants checked: an address is that of the very bytes of a view, as the kernel sees them ·
 * advice reaches the whole pages of the view and nothing else · errors have the kernel's names ·
 * without koffi every function says so · only one room knows koffi.
 */
import { closeSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { adviseHuge, adviseHugeIfLarge } from '../../../src/shared/native/huge-pages.ts';
import { addressOfView, hasNativeCalls } from '../../../src/shared/native/library.ts';
import { openPidfd } from '../../../src/shared/native/pidfd.ts';
import { readProcess } from '../../../src/shared/native/process-memory.ts';
import { MiB } from '../../../src/shared/page.ts';
import { Memory } from '../../../src/shared/wasm.ts';
import {
  GIVES_ON_REQUEST,
  hugePageSetting,
  isAdvised,
} from '../../support/linux/advised-memory.ts';

const SOURCE = fileURLToPath(new URL('../../../src', import.meta.url));
const isThere = hasNativeCalls();
const hasHugePages = hugePageSetting() !== undefined;
const NO_PROCESS = 0x3fff_fff0; // above the largest pid

/** Bytes that no two buffers have in common. */
function fill(bytes: Uint8Array, seed: number): void {
  for (let at = 0; at < bytes.length; at++) bytes[at] = at * 31 + seed;
}

const buffers: readonly (readonly [string, () => ArrayBufferLike])[] = [
  ['a SharedArrayBuffer', () => new SharedArrayBuffer(MiB)],
  [
    'a shared WebAssembly.Memory',
    () => new Memory({ initial: 16, maximum: 32, shared: true }).buffer,
  ],
  ['an ArrayBuffer', () => new ArrayBuffer(MiB)],
];

describe.skipIf(!isThere)('with koffi', () => {
  it.for(buffers)('reads %s at the address of its view', ([, make]) => {
    const source = new Uint8Array(make(), 4096, 300_000);
    const target = new Uint8Array(make(), 12_288, 300_100);
    fill(source, 7);
    expect(readProcess(process.pid, addressOfView(source), target, 50, 300_000)).toEqual({
      bytes: 300_000,
      errno: undefined,
    });
    expect(Buffer.compare(target.subarray(50, 300_050), source)).toBe(0);
    expect([...target.subarray(0, 50), ...target.subarray(300_050)].every((b) => b === 0)).toBe(
      true,
    );
  });

  it('says how far it came where the memory ends', () => {
    const memory = new Memory({ initial: 1, maximum: 2, shared: true }); // 64 KiB, then nothing
    const source = new Uint8Array(memory.buffer, 0xf000);
    fill(source, 3);
    const target = new Uint8Array(new SharedArrayBuffer(0x2000));
    const read = readProcess(process.pid, addressOfView(source), target, 0, 0x2000);
    expect(read).toEqual({ bytes: 0x1000, errno: 'EFAULT' });
    expect(Buffer.compare(target.subarray(0, 0x1000), source)).toBe(0);
    expect(target.subarray(0x1000).every((byte) => byte === 0)).toBe(true);
  });

  it('names the error of a process that is not there', () => {
    const target = new Uint8Array(new SharedArrayBuffer(16));
    expect(readProcess(NO_PROCESS, 0x1000, target, 0, 16)).toEqual({ bytes: 0, errno: 'ESRCH' });
    expect(openPidfd(NO_PROCESS)).toEqual({ errno: expect.stringMatching(/^(ESRCH|EINVAL)$/) });
  });

  it('opens a descriptor of a process', () => {
    const { fd } = openPidfd(process.pid);
    if (fd === undefined) throw new Error('this kernel has no pidfd_open');
    expect(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1')).toMatch(
      new RegExp(`^Pid:\\s+${process.pid}$`, 'm'),
    );
    closeSync(fd);
  });

  it.skipIf(!hasHugePages)('advises the whole pages of a view, and no others', () => {
    const buffer = new SharedArrayBuffer(40 * MiB);
    const view = new Uint8Array(buffer, 8 * MiB + 1, 16 * MiB);
    const start = addressOfView(view);
    expect(isAdvised(start + 8 * MiB)).toBe(false);
    expect(adviseHuge(view)).toBe(true);
    expect(isAdvised(start + 8 * MiB)).toBe(true);
    expect(isAdvised(start - 1)).toBe(false);
    expect(isAdvised(start + 16 * MiB)).toBe(false);
    expect(adviseHuge(new Uint8Array(buffer, 1, 4096))).toBe(false); // no whole page
    expect(adviseHuge(new Uint8Array(buffer, 0, 0))).toBe(false);
  });

  it('advises large memory only, and only where the system gives huge pages on request', () => {
    const large = new Uint8Array(new SharedArrayBuffer(64 * MiB));
    const small = new Uint8Array(new SharedArrayBuffer(64 * MiB - 1));
    expect(adviseHugeIfLarge(small)).toBe(false);
    expect(adviseHugeIfLarge(large)).toBe(GIVES_ON_REQUEST);
  });
});

describe.skipIf(isThere)('without koffi', () => {
  it('does nothing and says so', () => {
    const view = new Uint8Array(new SharedArrayBuffer(64 * MiB));
    expect(adviseHuge(view)).toBe(false);
    expect(adviseHugeIfLarge(view)).toBe(false);
    expect(readProcess(process.pid, 0x1000, view, 0, 16)).toEqual({ bytes: 0, errno: 'ENOSYS' });
    expect(openPidfd(process.pid)).toEqual({ errno: 'ENOSYS' });
  });
});

describe('the room', () => {
  it('is the only one that names the package', () => {
    const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' });
    const naming = files.filter((file) => {
      return file.endsWith('.ts') && /['"]koffi['"]/.test(readFileSync(join(SOURCE, file), 'utf8'));
    });
    expect(naming).toEqual([join('shared', 'native', 'library.ts')]);
  });
});
