/** The scan of a page map, on page maps that the test writes. */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { createPhase } from '../../../src/shared/dump/phase-control.ts';
import {
  SCAN_KIND,
  SCAN_RUN,
  SCAN_RUN_KIND,
  SCAN_UNIT,
  SCAN_VMA,
  ScanVmas,
} from '../../../src/shared/dump/scan-table.ts';
import type { ScanTask } from '../../../src/shared/dump/tasks/scan-task.ts';
import { readU64, writeU64 } from '../../../src/shared/u64.ts';
import { VM } from '../../../src/shared/vm-flags.ts';
import { scan } from '../../../src/workers/scan-pagemap.ts';

const folder = mkdtempSync(join(tmpdir(), 'mmdump-scan-'));
afterAll(() => rmSync(folder, { recursive: true }));

const PRESENT = 1n << 63n;
const SWAPPED = 1n << 62n;
const FILE = 1n << 61n;
const EXCLUSIVE = 1n << 56n;

function openFile(name: string, entries: readonly bigint[], flags = 'r'): number {
  const path = join(folder, name);
  writeFileSync(path, new Uint8Array(BigUint64Array.from(entries).buffer));
  return openSync(path, flags);
}

/** A task for one mapping that begins at page 0. */
function taskOf(kind: number, pages: number, pagemap: number, kpageflags = -1): ScanTask {
  const flags = VM.READ | VM.EXEC;
  const ask = kpageflags < 0 ? 0 : 3;
  const units = new SharedArrayBuffer(SCAN_UNIT.WORDS * 4);
  const words = new Int32Array(units);
  writeU64(words, SCAN_UNIT.TO, pages);
  words[SCAN_UNIT.LAST] = 1;
  return {
    phase: createPhase(1),
    worker: 0,
    pid: 4711,
    pagemap,
    kpageflags,
    wantsFrames: false,
    vmas: ScanVmas.create([{ start: 0, end: pages, kind, flags, ask }]),
    units,
    unitCount: 1,
  };
}

/** `start+pages` per run of content, and the counts. */
function scanned(task: ScanTask): unknown {
  const outcome = scan(task);
  if (!outcome.ok) return outcome.failure;
  const { runs } = outcome.value;
  const found: string[] = [];
  for (let at = 0; at < runs.length; at += SCAN_RUN.WORDS) {
    const isContent = runs[at + SCAN_RUN.KIND] === SCAN_RUN_KIND.CONTENT;
    const where = `${readU64(runs, at + SCAN_RUN.START)}+${runs[at + SCAN_RUN.PAGES]}`;
    found.push(isContent ? where : `${where}?`);
  }
  const vmas = new ScanVmas(task.vmas);
  return [found.join(' '), vmas.total(0, SCAN_VMA.RSS), vmas.total(0, SCAN_VMA.SWAP)];
}

describe('trial 4: all of the vdso is content', () => {
  it.for([
    ['none touched', [0n, 0n], ['0+2', 0, 0]],
    ['the first page touched', [PRESENT | FILE | 7n, 0n], ['0+2', 1, 0]],
    ['the second swapped out after a debugger wrote to it', [0n, SWAPPED | 32n], ['0+2', 0, 1]],
  ] as const)('%s', ([, entries, expected]) => {
    const pagemap = openFile('vdso', entries);
    expect(scanned(taskOf(SCAN_KIND.VDSO, 2, pagemap))).toEqual(expected);
    closeSync(pagemap);
  });

  it('an anonymous page that nobody has touched is none', () => {
    const pagemap = openFile('anonymous', [0n, PRESENT | EXCLUSIVE | 9n]);
    expect(scanned(taskOf(SCAN_KIND.ANONYMOUS, 2, pagemap))).toEqual(['1+1', 1, 0]);
    closeSync(pagemap);
  });
});

describe('trial 1: the number of a frame or swap slot is exact, or unknown', () => {
  it('entries that a double would round share nothing', () => {
    const slots = [4n, (1n << 54n) | 32n, (1n << 54n) | 33n];
    const pagemap = openFile(
      'slots',
      slots.map((slot) => SWAPPED | slot),
    );
    const task = { ...taskOf(SCAN_KIND.ANONYMOUS, 3, pagemap), wantsFrames: true };
    const outcome = scan(task);
    expect(outcome).toMatchObject({ ok: true, value: { frames: Float64Array.of(-5) } });
    closeSync(pagemap);
  });
});

describe('fault 12: a file of /proc that cannot be read is no lost worker', () => {
  it('/proc/kpageflags: INPUT_FAILED', () => {
    const pagemap = openFile('asked', [PRESENT | EXCLUSIVE | 9n]);
    const unreadable = openFile('flags', [0n], 'w');
    expect(scanned(taskOf(SCAN_KIND.ANONYMOUS, 1, pagemap, unreadable))).toMatchObject({
      kind: 'mmdump',
      code: 'INPUT_FAILED',
      message: expect.stringContaining('/proc/kpageflags'),
      fields: { path: '/proc/kpageflags', offset: 72, errno: 'EBADF' },
    });
    closeSync(pagemap);
    closeSync(unreadable);
  });

  it('the page map: INPUT_FAILED where it cannot be read, PROCESS_GONE where it has ended', () => {
    const unreadable = openFile('map', [0n], 'w');
    expect(scanned(taskOf(SCAN_KIND.ANONYMOUS, 1, unreadable))).toMatchObject({
      code: 'INPUT_FAILED',
      fields: { path: '/proc/4711/pagemap', pid: 4711, errno: 'EBADF' },
    });
    closeSync(unreadable);
    const ended = openFile('ended', []);
    expect(scanned(taskOf(SCAN_KIND.ANONYMOUS, 1, ended))).toMatchObject({ code: 'PROCESS_GONE' });
    closeSync(ended);
  });
});
