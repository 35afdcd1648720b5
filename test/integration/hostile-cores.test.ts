/**
 * Thousands of core files that are made to do harm.
 *
 * Invariants checked:
 * - An import ends in a documented MmdumpError, or shows the pages that a second, slow reader finds.
 * - What the slow reader refuses is refused. What it accepts is imported, unless NT_FILE or NT_AUXV
 *   make no sense, or the machine is too small.
 * - An import that fails, and one whose address space is destroyed, give all memory back.
 * - Nothing hangs.
 *
 * MMDUMP_LONG=1 runs 20 000 cores from a new seed, and MMDUMP_SEED=n repeats those of a seed.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDumper, createMachine, type Dumper, MiB, MmdumpError, PAGE_SIZE } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KERNEL_CODES, MMDUMP_CODES } from '../../src/shared/errors.ts';
import {
  auxvNote,
  type BuiltSegment,
  buildCore,
  fileNote,
  threadNote,
} from '../support/core/build-core.ts';
import { hostileCore } from '../support/core/core-mutations.ts';
import { pageOf, RefusedCore, readCore, type SlowCore } from '../support/core/slow-core.ts';
import { type Random, randomOf } from '../support/images/image-mutations.ts';
import { Watchdog } from '../support/programs/watchdog.ts';

const IS_LONG = process.env.MMDUMP_LONG === '1';
const SEED = Number(process.env.MMDUMP_SEED ?? (IS_LONG ? Date.now() & 0x7fff_ffff : 4196));
const CASES = IS_LONG ? 20_000 : 400;
const CODES: ReadonlySet<string> = new Set([...KERNEL_CODES, ...MMDUMP_CODES]);
const BASE = 0x5555_0000_0000n;

const folder = mkdtempSync(join(tmpdir(), 'mmdump-hostile-core-'));
const path = join(folder, 'core');
let dumper: Dumper;

beforeAll(async () => {
  dumper = await createDumper({ workers: 2 });
});
afterAll(async () => {
  await dumper.close();
  rmSync(folder, { recursive: true });
});

function pages(count: number, seed: number): Buffer {
  return Buffer.alloc(count * PAGE_SIZE, seed);
}

function seeds(): Buffer[] {
  const segments: BuiltSegment[] = [
    { address: BASE, flags: 6, bytes: 0x4000n, content: pages(4, 1) },
    { address: BASE + 0x4000n, flags: 6, bytes: 0x3000n, content: Buffer.alloc(0) },
    { address: BASE + 0x10_0000n, flags: 5, bytes: 0x3000n, content: pages(1, 2) },
    { address: BASE + 0x10_3000n, flags: 4, bytes: 0x1000n, content: pages(1, 3) },
    { address: 0x7ffc_0000_0000n, flags: 6, bytes: 0x2000n, content: pages(2, 4) },
  ];
  const text = BASE + 0x10_0000n;
  const notes = [
    threadNote(7, [1n], 6),
    auxvNote([3, text + 64n], [5, 3n], [25, 0x7ffc_0000_1800n], [31, 0x7ffc_0000_1ff0n]),
    fileNote([[text, text + 0x4000n, 0n, '/no/such/file']]),
  ];
  return [{}, { remainder: 0x628 }, { isExtended: true }].map((layout) =>
    buildCore(segments, notes, layout),
  );
}

function slowly(bytes: Buffer): SlowCore | RefusedCore {
  try {
    return readCore(bytes);
  } catch (error) {
    if (error instanceof RefusedCore) return error;
    throw error;
  }
}

/** The error if it is a clean one. Any other error is a defect and is thrown on. */
function clean(error: unknown): MmdumpError {
  const isClean = error instanceof MmdumpError && CODES.has(error.code);
  if (!isClean || error.code === 'WORKER_LOST' || error.code === 'MACHINE_POISONED') throw error;
  return error;
}

/** Imports a core and compares what it shows. Returns the outcome. */
async function runCase(random: Random, bytes: Buffer): Promise<string> {
  writeFileSync(path, bytes);
  const slow = slowly(bytes);
  const machine = createMachine({ memory: 4 * MiB, maxAddressSpaces: 2, store: MiB, checks: true });
  const { free } = machine.memory;
  const load = random.below(2) === 0 ? 'now' : 'on-demand';
  let outcome = 'imported';
  try {
    const imported = await dumper.importCore(machine, path, { load });
    if (slow instanceof RefusedCore) throw new Error(`imported, though: ${slow.message}`);
    const { mm } = imported;
    const page = Buffer.alloc(PAGE_SIZE);
    for (const { start, stored, flags } of slow.segments) {
      if (stored === 0 || (flags & 4) === 0) continue; // it cannot be read
      for (const at of [start, start + stored - PAGE_SIZE]) {
        mm.read(at, page);
        if (!page.equals(pageOf(bytes, slow, at)!)) throw new Error(`page ${at.toString(16)}`);
      }
    }
    machine.destroyAddressSpace(mm);
    await imported.release();
  } catch (error) {
    const { code, message } = clean(error);
    outcome = /NT_(FILE|AUXV): /.test(message) ? `${code} of a note` : code;
    const isExpected = slow instanceof RefusedCore || outcome.endsWith('note') || code === 'ENOMEM';
    if (!isExpected) throw error;
  }
  expect(machine.addressSpaces()).toEqual([]);
  machine.reclaim(MiB);
  expect(machine.memory.free).toBe(free);
  await machine.close();
  return outcome;
}

describe('a hostile core', () => {
  it('is refused with a code, or shows the pages that a second reader finds', {
    timeout: 3_600_000,
  }, async () => {
    const cores = seeds();
    for (const bytes of cores) expect(await runCase(randomOf(SEED, -1), bytes)).toBe('imported');
    const counts = new Map<string, number>();
    const start = Date.now();
    const watchdog = new Watchdog(60, `hostile cores: MMDUMP_SEED=${SEED}`);
    try {
      for (let item = 0; item < CASES; item++) {
        watchdog.beat(item);
        const random = randomOf(SEED, item);
        const { bytes, what } = hostileCore(random, cores);
        const outcome = await runCase(random, bytes).catch((error: unknown) => {
          const message = `MMDUMP_SEED=${SEED}, case ${item} (${what}): ${error}`;
          throw new Error(message, { cause: error });
        });
        counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
      }
    } finally {
      watchdog.stop();
    }
    const seconds = ((Date.now() - start) / 1000).toFixed(1);
    const told = [...counts]
      .sort(([, a], [, b]) => b - a)
      .map(([name, count]) => `${name} ${count}`);
    console.log(
      `hostile cores: MMDUMP_SEED=${SEED}, ${CASES} cases, ${seconds} s: ${told.join(', ')}`,
    );
    for (const code of ['imported', 'IMAGE_CORRUPT', 'IMAGE_TRUNCATED']) {
      expect(counts.get(code) ?? 0, code).toBeGreaterThan(CASES / 20);
    }
    for (const code of ['IMAGE_NOT_RECOGNISED', 'IMAGE_VERSION', 'IMAGE_CORRUPT of a note']) {
      expect(counts.get(code) ?? 0, code).toBeGreaterThan(0);
    }
  });
});
