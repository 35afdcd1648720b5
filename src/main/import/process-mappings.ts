/** Creates the mappings of a process in the machine, and the files that they show. */

import { FILE_BACKING, FILE_KIND } from '../../mmu/files/file-record.ts';
import type { FileFields } from '../../mmu/files/file-table.ts';
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { hostFileFields } from '../../mmu/machine/file.ts';
import type { HeldFiles } from '../../mmu/machine/held-files.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import { VMA_KIND, type VmaFields } from '../../mmu/vma/vma-table.ts';
import { SCAN_ASK, SCAN_KIND, type ScannedVma } from '../../shared/dump/scan-table.ts';
import { vpnOf } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Yielder } from '../job/stop.ts';
import { type Executable, isExecutable } from './executable.ts';
import { readFileView } from './file-view.ts';
import type { MappedFile, MappedFiles } from './mapped-files.ts';
import type { SmapsVma } from './smaps.ts';

/** A mapping and the file that it shows, if any. */
export interface ProcessVma {
  readonly smaps: SmapsVma;
  readonly file: MappedFile | null;
  readonly isVdso: boolean;
}

export async function describeVmas(
  pid: number,
  smaps: readonly SmapsVma[],
  files: MappedFiles,
  yielder: Yielder,
): Promise<ProcessVma[]> {
  const view = await readFileView(pid);
  const vmas: ProcessVma[] = [];
  for (const vma of smaps) {
    if (yielder.isDue()) await yielder.yield();
    vmas.push({ smaps: vma, file: await files.find(vma, view), isVdso: vma.name === '[vdso]' });
  }
  return vmas;
}

/** Mappings that are created in one call. The import yields between two calls. */
const AT_ONCE = 4096;

/** What the scan has to know about a mapping. */
export function toScanned({ smaps, file, isVdso }: ProcessVma): ScannedVma {
  const { start, end, flags, totals } = smaps;
  const ask =
    (totals.ksm === 0 ? 0 : SCAN_ASK.MERGED) | (totals.anonHugePages === 0 ? 0 : SCAN_ASK.HUGE);
  return { start: vpnOf(start), end: vpnOf(end), flags, kind: scanKind(file, isVdso), ask };
}

function scanKind(file: MappedFile | null, isVdso: boolean): number {
  if (isVdso) return SCAN_KIND.VDSO;
  if (file === null) return SCAN_KIND.ANONYMOUS;
  return file.isDeleted || file.isMemoryBacked ? SCAN_KIND.UNREACHABLE_FILE : SCAN_KIND.FILE;
}

/** What `createMappings` has to know about one process. */
export interface MappingInput {
  readonly vmas: readonly ProcessVma[];
  readonly exe: Executable;
  /** The unreachable files that can be read, so that all of their pages will be in the machine. */
  readonly known: ReadonlyMap<MappedFile, unknown>;
  /** Ordinals of the mappings that share pages with an earlier process. */
  readonly sharing: ReadonlySet<number>;
}

/** The files that the import has in the machine. */
export interface ImportFiles {
  /** Ids of the files, also of those that earlier processes map. */
  readonly ids: Map<MappedFile, number>;
  /** The references that the import itself holds. */
  readonly held: HeldFiles;
  /** Where pages of files lie that stay in the processes, as lists of `file-places.ts`. */
  readonly places: ReadonlyMap<MappedFile, Uint8Array>;
}

/**
 * Creates the mappings, and the files that have no id yet. It waits while the machine is frozen,
 * and rejects with AbortError when `signal` fires. In either case the caller has to call
 * `held.release` later.
 */
export async function createMappings(
  machine: Machine,
  space: AddressSpace,
  { vmas, exe, known, sharing }: MappingInput,
  files: ImportFiles,
  yielder: Yielder,
  signal: AbortSignal | undefined,
): Promise<void> {
  await files.held.take((taker) => {
    for (const { file } of vmas) {
      if (file === null || files.ids.has(file)) continue;
      files.ids.set(file, taker.create(fileFields(file, known.has(file), files.places.get(file))));
    }
  }, signal);
  const idOf = ({ file }: ProcessVma): number => (file === null ? 0 : files.ids.get(file)!);
  for (let from = 0; from < vmas.length; from += AT_ONCE) {
    if (from > 0) await yielder.yield();
    const fields = vmas.slice(from, from + AT_ONCE).map((vma, at) => {
      return toFields(machine, vma, idOf(vma), exe, sharing.has(from + at));
    });
    await space.insertMappingsAsync(fields, signal);
  }
}

function fileFields(
  file: MappedFile,
  isKnown: boolean,
  places: Uint8Array | undefined,
): FileFields {
  const { path, isDeleted, isMemoryBacked, size } = file;
  if (!isDeleted && !isMemoryBacked) return hostFileFields(path, size);
  // All that is left of a deleted file is in memory now. Once every page of it was looked for, an
  // absent page is zeros, as in any memory-backed file. Otherwise reading an absent page fails.
  const isInMemory = isMemoryBacked || isKnown;
  const kind = (isDeleted ? FILE_KIND.DELETED : 0) | (isInMemory ? FILE_KIND.MEMORY : 0);
  const backing = isKnown ? FILE_BACKING.NONE : FILE_BACKING.UNREACHABLE;
  return { path, kind, backing, size, ...(places === undefined ? {} : { content: places }) };
}

function toFields(
  machine: Machine,
  vma: ProcessVma,
  file: number,
  exe: Executable,
  isForked: boolean,
): VmaFields {
  const { smaps, isVdso } = vma;
  const start = vpnOf(smaps.start);
  // Current kernels do not show VM_EXECUTABLE; the executable's mappings get it all the same.
  const isExe = vma.file !== null && isExecutable(smaps, vma.file, exe);
  return {
    start,
    end: vpnOf(smaps.end),
    flags: (smaps.flags | (isExe ? VM.EXECUTABLE : 0)) >>> 0,
    file,
    pgoff: file === 0 ? start : smaps.pgoff,
    // It is not known yet whether there are anonymous pages: all private mappings get an anon_vma.
    anonVma: (smaps.flags & VM.SHARED) === 0 ? machine.parts.nextAnonVma() : 0,
    kind: isVdso ? VMA_KIND.VDSO : VMA_KIND.ORDINARY,
    isForked,
  };
}
