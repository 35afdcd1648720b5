/**
 * The scan phase of an import: finds in the page map of a stopped process which pages have content.
 * Nothing here touches the memory of the process, since reading it would fault pages in.
 *
 * An entry of /proc/PID/pagemap is a u64: bits 0 to 54 PFN · 56 exclusively mapped · 58 guard ·
 * 61 page of a file · 62 swapped out · 63 present. Without privilege the PFN reads as 0.
 */
import { readSync } from 'node:fs';
import {
  SCAN_KIND,
  SCAN_RUN_KIND,
  SCAN_UNIT,
  SCAN_VMA,
  type ScannedVma,
  ScanVmas,
} from '../shared/dump/scan-table.ts';
import type { ScanReport, ScanTask } from '../shared/dump/tasks/scan-task.ts';
import { MmdumpError, type Outcome } from '../shared/errors.ts';
import { procReadFailed } from '../shared/proc-error.ts';
import { readU64 } from '../shared/u64.ts';
import { VM } from '../shared/vm-flags.ts';
import { PageFlags } from './scan/page-flags.ts';
import { ScanRuns } from './scan/scan-runs.ts';
import { runUnits } from './task/run-units.ts';

const ENTRY_BYTES = 8;
/** Entries per window: 256 KiB, which stay in the second-level cache, for 128 MiB of addresses. */
const WINDOW_ENTRIES = 0x8000;
/** Entries that are read at least, because small VMAs lie close together. */
const AHEAD_ENTRIES = 0x1000;

// Bits of the high word of an entry.
const PRESENT = 0x8000_0000 | 0;
const SWAPPED = 0x4000_0000;
const FILE_PAGE = 0x2000_0000;
const GUARD = 0x0400_0000;
const EXCLUSIVE = 0x0100_0000;
const PFN_HIGH = 0x007f_ffff;

// KPF_* bits of /proc/kpageflags, all in the low word.
const KPF_KSM = 1 << 21;
const KPF_THP = 1 << 22;
const KPF_ZERO_PAGE = 1 << 24;

/**
 * A plain page is mapped by one mm only and belongs to no file. The zero page is not plain, since
 * it is never exclusive, and neither is the huge zero page, which shows as a page of a file.
 */
const PLAIN_MASK = PRESENT | EXCLUSIVE | FILE_PAGE;
const PLAIN = PRESENT | EXCLUSIVE;

const { CONTENT, ZERO_PAGE, FILE_PAGES, GUARD: GUARD_RUN, MERGED } = SCAN_RUN_KIND;
const { ANONYMOUS, VDSO } = SCAN_KIND;
const NONE = -1;

/** Scans the page map in the units that this worker claims. */
export function scan(task: ScanTask): Outcome<ScanReport> {
  const scanner = new Scanner(task);
  const units = new Int32Array(task.units);
  const outcome = runUnits(task, task.unitCount, (unit) => {
    const at = unit * SCAN_UNIT.WORDS;
    const from = readU64(units, at + SCAN_UNIT.FROM);
    const to = readU64(units, at + SCAN_UNIT.TO);
    const first = units[at + SCAN_UNIT.FIRST]!;
    const last = units[at + SCAN_UNIT.LAST]!;
    for (let vma = first; vma < last; vma++) scanner.scanVma(vma, from, to);
    return { pages: to - from, bytes: 0 };
  });
  if (!outcome.ok) return outcome;
  const { runs, framesShown } = scanner;
  const found = { runs: runs.take(), frames: runs.takeFrames(), framesShown };
  return { ok: true, value: { ...outcome.value, ...found } };
}

class Scanner {
  readonly runs = new ScanRuns();
  /** Whether any entry showed its PFN. Without the privilege all PFNs read as 0. */
  framesShown = false;
  readonly #task: ScanTask;
  readonly #vmas: ScanVmas;
  readonly #flags: PageFlags | undefined;
  readonly #words = new Int32Array(WINDOW_ENTRIES * 2);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  readonly #zeros = new Uint8Array(this.#bytes.length);
  /** The window holds the entries of pages [#windowStart, #windowEnd). */
  #windowStart = 0;
  #windowEnd = 0;
  #windowEmpty = true;

  constructor(task: ScanTask) {
    this.#task = task;
    this.#vmas = new ScanVmas(task.vmas);
    this.#flags = task.kpageflags < 0 ? undefined : new PageFlags(task.kpageflags);
  }

  /** Scans the part of VMA number `index` that lies in pages [from, to). */
  scanVma(index: number, from: number, to: number): void {
    const { start, end, kind, flags, ask } = this.#vmas.get(index);
    const last = Math.min(end, to);
    for (let vpn = Math.max(start, from); vpn < last; ) {
      if (vpn < this.#windowStart || vpn >= this.#windowEnd) this.#load(vpn, last, to);
      const stop = Math.min(last, this.#windowEnd);
      if (!this.#windowEmpty || kind === VDSO)
        this.#scanEntries(index, { kind, flags, ask }, vpn, stop);
      vpn = stop;
    }
    this.runs.end();
  }

  #load(vpn: number, vmaEnd: number, unitEnd: number): void {
    const ahead = Math.min(unitEnd, vpn + AHEAD_ENTRIES);
    const count = Math.min(Math.max(vmaEnd, ahead) - vpn, WINDOW_ENTRIES);
    const { pid, pagemap } = this.#task;
    const length = count * ENTRY_BYTES;
    for (let done = 0; done < length; ) {
      done += readEntries(pid, pagemap, this.#bytes, done, length, vpn * ENTRY_BYTES);
    }
    this.#windowStart = vpn;
    this.#windowEnd = vpn + count;
    this.#windowEmpty =
      Buffer.compare(this.#bytes.subarray(0, length), this.#zeros.subarray(0, length)) === 0;
  }

  #scanEntries(vma: number, about: VmaKind, from: number, to: number): void {
    const { kind, flags: vmaFlags, ask } = about;
    const words = this.#words;
    const isShared = (vmaFlags & VM.SHARED) !== 0;
    const mayWrite = (vmaFlags & VM.WRITE) !== 0;
    const isPrivate = (vmaFlags & (VM.SHARED | VM.MAYSHARE)) === 0 && kind !== VDSO;
    const wantsFrames = this.#task.wantsFrames && isPrivate;
    const totals = { rss: 0, anonymous: 0, swap: 0, ksm: 0 };
    let at = (from - this.#windowStart) * 2;
    for (let vpn = from; vpn < to; vpn++, at += 2) {
      const high = words[at + 1]!;
      if (high === 0 && kind !== VDSO) {
        this.runs.end();
        continue;
      }
      const low = words[at]!;
      const pfn = (high & PFN_HIGH) * 0x1_0000_0000 + (low >>> 0);
      if (pfn !== 0 && (high & PRESENT) !== 0) this.framesShown = true;
      // The huge zero page shows as a page of a file, even in a VMA without a file.
      const isAsked =
        (high & PRESENT) !== 0 &&
        ((high & FILE_PAGE) === 0 || kind === ANONYMOUS) &&
        (ask !== 0 || (high & PLAIN_MASK) !== PLAIN);
      const pageFlags = isAsked && pfn !== 0 ? (this.#flags?.of(pfn) ?? 0) : 0;
      const runKind = kindOf(kind, high, pageFlags, totals);
      if (runKind === NONE) {
        this.runs.end();
        continue;
      }
      const writable = mayWrite && (isShared || (high & EXCLUSIVE) !== 0);
      const isHuge = runKind === CONTENT && (pageFlags & KPF_THP) !== 0;
      const frame = wantsFrames && runKind === CONTENT ? sharedFrame(high, pfn) : 0;
      this.runs.page(vma, vpn, runKind, writable, pfn, isHuge, frame);
    }
    this.#vmas.addTotal(vma, SCAN_VMA.RSS, totals.rss);
    this.#vmas.addTotal(vma, SCAN_VMA.ANONYMOUS, totals.anonymous);
    this.#vmas.addTotal(vma, SCAN_VMA.SWAP, totals.swap);
    this.#vmas.addTotal(vma, SCAN_VMA.KSM, totals.ksm);
  }
}

type VmaKind = Pick<ScannedVma, 'kind' | 'flags' | 'ask'>;

/** The SCAN_RUN_KIND of an entry, or NONE. Adds the entry to the totals. */
function kindOf(
  vmaKind: number,
  high: number,
  pageFlags: number,
  totals: { rss: number; anonymous: number; swap: number; ksm: number },
): number {
  if ((high & PRESENT) === 0) {
    if ((high & GUARD) !== 0) return GUARD_RUN;
    if ((high & (SWAPPED | FILE_PAGE)) === SWAPPED) totals.swap++;
    // A page of the vdso has content even if the process has not touched it: the kernel's.
    else if (vmaKind !== VDSO) return NONE;
    return CONTENT;
  }
  if ((pageFlags & KPF_ZERO_PAGE) !== 0) return ZERO_PAGE;
  totals.rss++;
  if (vmaKind === VDSO) return CONTENT;
  if ((high & FILE_PAGE) !== 0) {
    if (vmaKind === ANONYMOUS) return CONTENT; // the huge zero page, without kpageflags
    return vmaKind === SCAN_KIND.UNREACHABLE_FILE ? FILE_PAGES : NONE;
  }
  totals.anonymous++;
  if ((pageFlags & KPF_KSM) === 0) return CONTENT;
  totals.ksm++;
  return MERGED;
}

/** PFN of an anonymous page, or -1 - (swap entry), if another process may show the page; else 0. */
function sharedFrame(high: number, pfn: number): number {
  // The PFN is not shown, or a double would round it, so that two slots would look like one.
  if (pfn === 0 || pfn > Number.MAX_SAFE_INTEGER) return 0;
  if ((high & PRESENT) === 0) return -1 - pfn;
  return (high & (EXCLUSIVE | FILE_PAGE)) === 0 ? pfn : 0;
}

/**
 * Reads bytes [at, length) of a stretch of the page map, which begins at byte `position`, to
 * into[at]. Returns the number of bytes read, at least 1. Throws PROCESS_GONE, PROCESS_DENIED or
 * INPUT_FAILED.
 */
function readEntries(
  pid: number,
  fd: number,
  into: Uint8Array,
  at: number,
  length: number,
  position: number,
): number {
  let count: number;
  try {
    count = readSync(fd, into, at, length - at, position + at);
  } catch (error) {
    throw procReadFailed(`/proc/${pid}/pagemap`, position + at, error, pid);
  }
  if (count > 0) return count;
  throw new MmdumpError('PROCESS_GONE', `process ${pid} ended while its page map was read`, {
    pid,
  });
}
