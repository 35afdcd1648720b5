/**
 * Invariants checked: the module of the kernel is the text that stands above it · frames are copied
 * and zeroed in every kind of bank and between banks, and no other byte changes · a closed machine's
 * memory is let go
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import wabt from 'wabt';
import { PAGE_KERNEL } from '../../../src/mmu/physical/page-kernel.ts';
import { BANK_FRAMES, PhysicalMemory } from '../../../src/mmu/physical/physical-memory.ts';
import { PAGE_SIZE } from '../../../src/shared/page.ts';
import { Memory, WASM_PAGE, WASM_PAGES_MAX } from '../../../src/shared/wasm.ts';

const FRAMES = 32;
const source = new URL('../../../src/mmu/physical/page-kernel.ts', import.meta.url);

it('the bytes of the module are those of its text', async () => {
  const { parseWat } = await wabt();
  const lines = readFileSync(source, 'utf8').matchAll(/^ \* {3}(.*)$/gm);
  const text = [...lines].map(([, line]) => line).join('\n');
  expect(text).toContain('(module');
  const module = parseWat('page.wat', text, { threads: true, bulk_memory: true });
  expect(module.toBinary({}).buffer).toEqual(new Uint8Array(PAGE_KERNEL));
  module.destroy();
});

function wasmMemory() {
  const pages = (FRAMES * PAGE_SIZE) / WASM_PAGE;
  return new Memory({ initial: pages, maximum: WASM_PAGES_MAX, shared: true });
}

/** Own frames, then adopted ones: in the second half of a wasm memory, and in plain shared memory. */
function fixture() {
  const adopted = [
    { memory: wasmMemory(), at: (FRAMES / 2) * PAGE_SIZE, pages: FRAMES / 2 },
    { memory: new SharedArrayBuffer(FRAMES * PAGE_SIZE), at: 0, pages: FRAMES },
  ];
  const memory = new PhysicalMemory({
    banks: [wasmMemory()],
    frames: FRAMES,
    adopted,
    swapBanks: [],
    slots: 0,
  });
  const banks = [0, BANK_FRAMES, 2 * BANK_FRAMES];
  for (const [bank, bytes] of memory.bytes.entries()) {
    for (let at = 0; at < bytes.length; at++) bytes[at] = at * 7 + (at >>> 12) + bank * 31 + 1;
  }
  return { memory, banks };
}

const shown = (memory: PhysicalMemory): Buffer[] => memory.bytes.map((bytes) => Buffer.from(bytes));

describe.each([0, 1, 2])('frames of bank %d', (bank) => {
  it.each([0, 1, 2])('are copied to bank %d', (to) => {
    const { memory, banks } = fixture();
    const [target, from] = [banks[to]! + 5, banks[bank]! + 9];
    const expected = shown(memory);
    expected[to]!.set(memory.page(from).slice(), 5 * PAGE_SIZE);
    memory.copy(target, from);
    expect(shown(memory).every((bytes, at) => bytes.equals(expected[at]!))).toBe(true);
  });

  it('are zeroed', () => {
    const { memory, banks } = fixture();
    const expected = shown(memory);
    expected[bank]!.fill(0, 3 * PAGE_SIZE, 6 * PAGE_SIZE);
    memory.zero(banks[bank]! + 3, 3);
    expect(shown(memory).every((bytes, at) => bytes.equals(expected[at]!))).toBe(true);
  });
});

it('nothing is kept once the views are dropped', () => {
  const { memory } = fixture();
  memory.copy(1, 2);
  memory.dropViews();
  expect(() => memory.copy(1, 2)).toThrow();
});
