/**
 * The kernel's own calls, on this thread.
 *
 * Invariants checked: an address is that of the very bytes of a view, as the kernel sees them ·
 * advice reaches the whole pages of the view and nothing else · without koffi every function says
 * so · only one room knows koffi.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { adviseHuge, adviseHugeIfLarge } from '../../../src/shared/native/huge-pages.ts';
import {
  addressOfView,
  hasNativeCalls,
  nativeFunction,
} from '../../../src/shared/native/library.ts';
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

/** The bytes at an address of this process, as the C library sees them. */
function bytesAt(address: number, length: number): Uint8Array {
  const target = new Uint8Array(new SharedArrayBuffer(length));
  const copy = nativeFunction('uintptr_t memcpy(uintptr_t to, uintptr_t from, size_t bytes)');
  copy(addressOfView(target), address, length);
  return target;
}

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
    fill(source, 7);
    expect(Buffer.compare(bytesAt(addressOfView(source), 300_000), source)).toBe(0);
    const part = source.subarray(777, 1000);
    expect(Buffer.compare(bytesAt(addressOfView(part), 223), part)).toBe(0);
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
