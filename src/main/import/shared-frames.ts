/**
 * Finds the pages that several stopped processes share on the real machine, as fork leaves them:
 * the same frame, or the same swap slot, at the same address of private mappings. The first process
 * that shows such a page loads it, and all later ones share it with the first, so chains never
 * arise. Pages that KSM merged are left out, because they are equal by chance.
 */
import { readSync } from 'node:fs';
import { SCAN_RUN_KIND } from '../../shared/dump/scan-table.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { granuleEnd, MiB, vpnOf } from '../../shared/page.ts';
import { procReadFailed } from '../../shared/proc-error.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { ProcessVma } from './process-mappings.ts';
import type { ScannedRun, ScanResult } from './scan-phase.ts';

const { CONTENT, HUGE } = SCAN_RUN_KIND;

/** One process of the import. */
export interface FamilyMember {
  readonly pid: number;
  readonly vmas: readonly ProcessVma[];
  readonly scan: ScanResult;
}

/** Pages that an earlier process shows as well; all lie in one granule. */
export interface SharedRun {
  readonly vma: number; //   ordinal, of the process that shares them
  readonly start: number; // page
  readonly pages: number;
  readonly donor: number; // ordinal of the earlier process
  /** Whether both processes may map them by one 2 MiB leaf. */
  readonly isHuge: boolean;
}

/** The pages that a process loads itself, and those that it shares with earlier processes. */
export interface MemberPages {
  readonly runs: readonly ScannedRun[];
  readonly shared: readonly SharedRun[];
}

/**
 * Divides the pages of each process into own and shared ones. OPTION_INVALID if two have one mm.
 */
export function findShared(members: readonly FamilyMember[]): MemberPages[] {
  return members.map((member, ordinal) => {
    const donors = members.slice(0, ordinal);
    for (const donor of donors) assertOwnMm(donor, member);
    const views = donors.map((donor) => new FrameView(donor));
    const pages: { runs: ScannedRun[]; shared: SharedRun[] } = { runs: [], shared: [] };
    for (const run of member.scan.runs) {
      if (run.frames < 0 || ordinal === 0) pages.runs.push(run);
      else cutRun(member, run, views, pages);
    }
    return pages;
  });
}

/** Cuts a run where the donor changes, and shared pages also where a granule ends. */
function cutRun(
  { vmas, scan }: FamilyMember,
  run: ScannedRun,
  views: readonly FrameView[],
  into: { readonly runs: ScannedRun[]; readonly shared: SharedRun[] },
): void {
  const shift = indexShift(vmas[run.vma]!);
  const donorOf = (page: number): number => {
    const frame = scan.frames[run.frames + page]!;
    return frame === 0 ? -1 : views.findIndex((view) => view.shows(run.start + page, frame, shift));
  };
  let donor = donorOf(0);
  for (let page = 0; page < run.pages; ) {
    const limit =
      donor < 0 ? run.pages : Math.min(run.pages, granuleEnd(run.start + page) - run.start);
    let end = page + 1;
    let next = -1;
    for (; end < run.pages; end++) {
      next = donorOf(end);
      if (next !== donor || end === limit) break;
    }
    const isWhole = end - page === run.pages;
    const start = run.start + page;
    if (donor < 0) {
      const kind = run.kind === HUGE && !isWhole ? CONTENT : run.kind;
      into.runs.push({ ...run, kind, start, pages: end - page, frames: run.frames + page });
    } else {
      const isHuge = run.kind === HUGE && isWhole;
      into.shared.push({ vma: run.vma, start, pages: end - page, donor, isHuge });
    }
    page = end;
    donor = next;
  }
}

/** Looks up the frames of one process. The pages must be asked for in ascending order. */
class FrameView {
  readonly #member: FamilyMember;
  #run = 0;

  constructor(member: FamilyMember) {
    this.#member = member;
  }

  /** Whether the process shows this frame at this page, in a mapping with the same index shift. */
  shows(vpn: number, frame: number, shift: number): boolean {
    const { vmas, scan } = this.#member;
    const { runs, frames } = scan;
    while (this.#run < runs.length && runs[this.#run]!.start + runs[this.#run]!.pages <= vpn) {
      this.#run++;
    }
    const run = runs[this.#run];
    if (run === undefined || run.start > vpn || run.frames < 0) return false;
    return frames[run.frames + (vpn - run.start)] === frame && indexShift(vmas[run.vma]!) === shift;
  }
}

/**
 * Index in the page struct minus vpn. It must be equal in both mms, which share one page struct.
 */
function indexShift({ smaps, file }: ProcessVma): number {
  return file === null ? 0 : smaps.pgoff - vpnOf(smaps.start);
}

/** OPTION_INVALID if both processes show a frame that only one mm maps: then both have that mm. */
function assertOwnMm(first: FamilyMember, second: FamilyMember): void {
  const own = new Map<number, number>();
  for (const run of first.scan.runs) if (isExclusive(first, run)) own.set(run.start, run.pfn);
  for (const run of second.scan.runs) {
    if (!isExclusive(second, run) || own.get(run.start) !== run.pfn) continue;
    const message =
      `pid: processes ${first.pid} and ${second.pid} share one address space (CLONE_VM): name one ` +
      'of them';
    throw new MmdumpError('OPTION_INVALID', message, { pid: second.pid });
  }
}

/** Whether one mm alone maps these pages: a scan finds private pages writable only then. */
function isExclusive(
  { vmas }: FamilyMember,
  { vma, kind, writable, pfn, frames }: ScannedRun,
): boolean {
  const { smaps, file } = vmas[vma]!;
  const isAnonymous = file === null && (smaps.flags & (VM.SHARED | VM.MAYSHARE)) === 0;
  return isAnonymous && (kind === CONTENT || kind === HUGE) && writable && pfn !== 0 && frames < 0;
}

const ENTRY_BYTES = 8;
const WINDOW_BYTES = MiB;
const PFN_HIGH = 0x007f_ffff;
const PRESENT = 0x8000_0000 | 0;

/**
 * Looks a second time at the pages that a process may share, after all others were scanned, and
 * clears the frames that have changed. The kernel migrates and swaps pages even of processes that
 * stand still, and it may give such a frame to another process. A frame that was seen both before
 * and after the scans of the others is the one that they saw.
 */
export function forgetMovedFrames(
  pagemap: number,
  pid: number,
  { runs, frames }: ScanResult,
): void {
  const bytes = new Uint8Array(WINDOW_BYTES);
  const words = new Int32Array(bytes.buffer);
  for (const { start, pages, frames: at } of runs) {
    if (at < 0) continue;
    for (let done = 0; done < pages; done += WINDOW_BYTES / ENTRY_BYTES) {
      const count = Math.min(pages - done, WINDOW_BYTES / ENTRY_BYTES);
      const length = count * ENTRY_BYTES;
      // Entries that a short read does not return count as changed.
      const read = readEntries(pagemap, pid, bytes, length, (start + done) * ENTRY_BYTES);
      words.fill(0, Math.floor(read / 4), count * 2);
      for (let page = 0; page < count; page++) {
        if (frameIn(words, page * 2) !== frames[at + done + page]) frames[at + done + page] = 0;
      }
    }
  }
}

/** Throws PROCESS_GONE, PROCESS_DENIED or INPUT_FAILED. */
function readEntries(
  pagemap: number,
  pid: number,
  into: Uint8Array,
  length: number,
  position: number,
): number {
  try {
    return readSync(pagemap, into, 0, length, position);
  } catch (error) {
    throw procReadFailed(`/proc/${pid}/pagemap`, position, error, pid);
  }
}

function frameIn(words: Int32Array, at: number): number {
  const high = words[at + 1]!;
  const pfn = (high & PFN_HIGH) * 0x1_0000_0000 + (words[at]! >>> 0);
  return (high & PRESENT) === 0 ? -1 - pfn : pfn;
}
