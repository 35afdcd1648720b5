/**
 * /proc/PID/smaps: the mappings of a process with their flags and totals (fs/proc/task_mmu.c).
 *
 *   7f21c000-7f21e000 rw-p 00001000 fe:00 260131      /usr/bin/cat
 *   Rss:                   8 kB
 *   VmFlags: rd wr mr mw me ac
 */
import { VM } from '../../shared/vm-flags.ts';
import type { Turns } from '../job/stop.ts';
import { readProc } from './proc.ts';

/**
 * Totals of one mapping in kB, as the kernel counts them. Null: this kernel does not tell (the merged
 * pages, before 6.6), which says nothing of what there is.
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
  /** First page of the file; 0 without one. Exact: bytes would not always fit into a double. */
  readonly pgoff: number;
  /** `fe:00`, as the line has it. */
  readonly device: string;
  /** 0 without a file. */
  readonly inode: bigint;
  /**
   * Raw bytes as latin1, newlines as the kernel escapes them (`\\012`, as which a name may be
   * written, too); '' without a name. May be a [name] of the kernel's own.
   */
  readonly name: string;
  readonly totals: SmapsTotals;
  /** Guard pages were set in it; only newer kernels tell. */
  readonly hasGuards: boolean;
}

/** Two letters of VmFlags. What has no bit in an image (soft-dirty, arch flags) is not listed. */
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

/** Takes the file line by line. `[vsyscall]` is left out: it is no part of the mm. */
class SmapsReader {
  readonly vmas: SmapsVma[] = [];
  #header: RegExpExecArray | null = null;
  #kilobytes: Record<string, number> = {};

  line(line: string): void {
    // Addresses have small letters, the names of fields begin with capital ones.
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

/** Offsets are multiples of a page: their last hexadecimal digits are zeros. */
const PAGE_DIGITS = 3;
const CAPITAL_A = 0x41;
const CAPITAL_Z = 0x5a;
/** Fields that are looked at. */
const TOTALS = new Set(['Rss', 'Anonymous', 'Swap', 'KSM', 'AnonHugePages']);

/** The mappings of a process. Errors as `procError`; AbortError, through `turns`. */
export async function readSmaps(pid: number, turns: Turns): Promise<SmapsVma[]> {
  return await parseSmaps((await readProc(pid, 'smaps')).toString('latin1'), turns);
}

/** Parses the whole file: of 65 530 mappings it has some 50 MB. AbortError, through `turns`. */
export async function parseSmaps(text: string, turns: Turns): Promise<SmapsVma[]> {
  const reader = new SmapsReader();
  for (let from = 0; from < text.length; ) {
    if (turns.isDue()) await turns.next();
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
