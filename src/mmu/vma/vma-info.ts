/** The VMAs of an mm as /proc/PID/maps shows them. */
import { addressOf } from '../../shared/page.ts';
import { protLetters, vmFlagNames } from '../../shared/vm-flags.ts';
import type { Mm } from '../mm/mm.ts';
import { VMA_KIND } from './vma-table.ts';

/** A VMA as /proc/PID/maps shows it. */
export interface VmaInfo {
  /** Address of its first byte. */
  readonly start: number;
  /** Address after its last byte. */
  readonly end: number;
  /** Access, and whether it is private or shared, as /proc/PID/maps shows them: 'rw-p'. */
  readonly prot: string;
  /** VM_* bits (linux/mm.h). */
  readonly flags: number;
  /** Names of these bits, without the prefix VM_. */
  readonly flagNames: readonly string[];
  /**
   * Page of the file at `start` (vm_pgoff). For private anonymous memory, it is the page number of
   * the address at which that memory was mapped first.
   */
  readonly pgoff: number;
  /** Path of its file as d_path gives it, with ' (deleted)'; null for a VMA that maps no file. */
  readonly file: string | null;
  /** Whether it is the vdso, the code that the kernel maps into every process. */
  readonly isVdso: boolean;
}

/** The name that d_path gives a file: its path, with ' (deleted)' once the name is removed. */
export function dPath(mm: Mm, file: number): string {
  const deleted = (mm.files.kind(file) & 1) !== 0;
  return mm.files.pathText(file) + (deleted ? ' (deleted)' : '');
}

/** All VMAs of an mm in ascending order. The mmap lock is held in either mode. */
export function vmaInfos(mm: Mm): VmaInfo[] {
  const { vmas } = mm;
  return Array.from({ length: vmas.count }, (_, ordinal) => vmaInfo(mm, vmas.slot(ordinal)));
}

/** The VMA in a slot. The mmap lock is held in either mode. */
export function vmaInfo(mm: Mm, slot: number): VmaInfo {
  const vma = mm.vmas.fields(slot);
  return {
    start: addressOf(vma.start),
    end: addressOf(vma.end),
    prot: protLetters(vma.flags),
    flags: vma.flags,
    flagNames: vmFlagNames(vma.flags),
    pgoff: vma.pgoff,
    file: vma.file === 0 ? null : dPath(mm, vma.file),
    isVdso: vma.kind === VMA_KIND.VDSO,
  };
}
