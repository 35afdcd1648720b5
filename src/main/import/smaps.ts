/**
 * /proc/PID/smaps: the mappings of a process with their flags and totals (fs/proc/task_mmu.c).
 *
 *   7f21c000-7f21e000 rw-p 00001000 fe:00 260131      /usr/bin/cat
 *   Rss:                   8 kB
 *   VmFlags: rd wr mr mw me ac
 */
import { VM } from '../../shared/vm-flags.ts';
import type { Yielder } from '../job/stop.ts';
import { readProc } from './proc.ts';

/**
 * Totals of one mapping in kB, as the kernel counts them. Null where this kernel does not give a
 * total (that of KSM, before 6.6); there may be such pages all the same.
 */
export interface SmapsTotals {
  readonly rss: number | null;
  readonly anonymous: number | null;
  readonly swap: number | null;
  readonly ksm: number | null;
  readonly anonHugePages: number | null;
}

export interface SmapsVma {
  readonly start: number; // address
  readonly end: number;
  /** VM_* bits from the VmFlags line. */
  readonly flags: number;
  /** First page of the file; 0 without a file. An offset in bytes may not fit into a double. */
  readonly pgoff: number;
  /** `fe:00`, as the line has it. */
  readonly device: string;
  /** 0 without a file. */
  readonly inode: bigint;
  /**
   * Raw bytes as latin1; '' without a name. It may be a [name] of the kernel's own. The kernel
   * writes a newline as `\012`, and a name may hold these four characters as well.
   */
  readonly name: string;
  readonly totals: SmapsTotals;
  /** Whether guard pages were installed in it; only newer kernels tell. */
  readonly hasGuards: boolean;
}

/** VM_* bits by their letters in VmFlags, without those that images lack (soft-dirty, arch). */
const FLAG_BITS: { readonly [letters: string]: number } = {
  rd: VM.READ,
  wr: VM.WRITE,
  ex: VM.EXEC,
  sh: VM.SHARED,
  mr: VM.MAYREAD,
  mw: VM.MAYWRITE,
  me: VM.MAYEXEC,
  ms: VM.MAYSHARE,
  gd: VM.GROWSDOWN,
  pf: VM.PFNMAP,
  lo: VM.LOCKED,
  io: VM.IO,
  sr: VM.SEQ_READ,
  rr: VM.RAND_READ,
  dc: VM.DONTCOPY,
  de: VM.DONTEXPAND,
  ac: VM.ACCOUNT,
  nr: VM.NORESERVE,
  ht: VM.HUGETLB,
  wf: VM.WIPEONFORK,
  dd: VM.DONTDUMP,
  mm: VM.MIXEDMAP,
  hg: VM.HUGEPAGE,
  nh: VM.NOHUGEPAGE,
  mg: VM.MERGEABLE,
};

const HEADER =
  /^([0-9a-f]+)-([0-9a-f]+) [rwxps-]{4} ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+)\s*(.*)$/s;

/** Parses the file line by line. `[vsyscall]` is left out, because it is no part of the mm. */
class SmapsReader {
  readonly vmas: SmapsVma[] = [];
  #header: RegExpExecArray | null = null;
  #kilobytes: Record<string, number> = {};

  line(line: string): void {
    // An address begins with a digit or a small letter, the name of a field with a capital letter.
    const isField = line.charCodeAt(0) <= CAPITAL_Z && line.charCodeAt(0) >= CAPITAL_A;
    if (isField) {
      this.#field(line);
      return;
    }
    const found = HEADER.exec(line);
    if (found === null) return;
    this.#header = found;
    this.#kilobytes = {};
  }

  #field(line: string): void {
    const colon = line.indexOf(':');
    const key = line.slice(0, colon);
    if (TOTALS.has(key)) {
      this.#kilobytes[key] = Number.parseInt(line.slice(colon + 1), 10);
    } else if (key === 'VmFlags' && this.#header !== null) {
      const vma = toVma(this.#header, this.#kilobytes, line.slice(colon + 1));
      if (vma.name !== '[vsyscall]') this.vmas.push(vma);
      this.#header = null;
    }
  }
}

/** An offset is a multiple of the page size, so its last hexadecimal digits are zeros. */
const PAGE_DIGITS = 3;
const CAPITAL_A = 0x41;
const CAPITAL_Z = 0x5a;
/** The fields that are read. */
const TOTALS = new Set(['Rss', 'Anonymous', 'Swap', 'KSM', 'AnonHugePages']);

/**
 * Reads the mappings of a process.
 * Throws the errors of `procError`, and AbortError through `yielder`.
 */
export async function readSmaps(pid: number, yielder: Yielder): Promise<SmapsVma[]> {
  return await parseSmaps((await readProc(pid, 'smaps')).toString('latin1'), yielder);
}

/**
 * Parses the whole file; it has some 50 MB for 65 530 mappings. Throws AbortError through
 * `yielder`.
 */
export async function parseSmaps(text: string, yielder: Yielder): Promise<SmapsVma[]> {
  const reader = new SmapsReader();
  for (let from = 0; from < text.length; ) {
    if (yielder.isDue()) await yielder.yield();
    const end = text.indexOf('\n', from);
    const to = end < 0 ? text.length : end;
    reader.line(text.slice(from, to));
    from = to + 1;
  }
  return reader.vmas;
}

function toVma(
  header: RegExpExecArray,
  kilobytes: Record<string, number>,
  flags: string,
): SmapsVma {
  const [, start, end, offset, device, inode, name] = header as unknown as string[];
  return {
    start: Number.parseInt(start!, 16),
    end: Number.parseInt(end!, 16),
    flags: parseFlags(flags),
    pgoff: Number.parseInt(offset!.slice(0, -PAGE_DIGITS) || '0', 16),
    device: device!,
    inode: BigInt(inode!),
    name: name!,
    hasGuards: / gu\b/.test(flags),
    totals: {
      rss: kilobytes.Rss ?? null,
      anonymous: kilobytes.Anonymous ?? null,
      swap: kilobytes.Swap ?? null,
      ksm: kilobytes.KSM ?? null,
      anonHugePages: kilobytes.AnonHugePages ?? null,
    },
  };
}

function parseFlags(letters: string): number {
  let flags = 0;
  for (const pair of letters.trim().split(/\s+/)) flags |= FLAG_BITS[pair] ?? 0;
  return flags >>> 0;
}
