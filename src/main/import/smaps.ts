/**
 * /proc/PID/smaps: the mappings of a process with their flags and totals (fs/proc/task_mmu.c).
 *
 *   7f21c000-7f21e000 rw-p 00001000 fe:00 260131      /usr/bin/cat
 *   Rss:                   8 kB
 *   VmFlags: rd wr mr mw me ac
 */
import { VM } from '../../shared/vm-flags.ts';

/** Totals of one mapping in kB, as the kernel counts them. */
export interface SmapsTotals {
  readonly rss: number;
  readonly anonymous: number;
  readonly swap: number;
  readonly ksm: number;
  readonly anonHugePages: number;
}

export interface SmapsVma {
  readonly start: number; // address
  readonly end: number;
  /** VM_* bits from the VmFlags line. */
  readonly flags: number;
  /** Bytes into the file; 0 without one. */
  readonly offset: number;
  /** `fe:00`, as the line has it. */
  readonly device: string;
  readonly inode: number;
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

/** Parses the whole file. `[vsyscall]` is left out: it is no part of the mm. */
export function parseSmaps(text: string): SmapsVma[] {
  const vmas: SmapsVma[] = [];
  let header: RegExpExecArray | null = null;
  let kilobytes: Record<string, number> = {};
  for (const line of text.split('\n')) {
    const found = HEADER.exec(line);
    if (found !== null) {
      header = found;
      kilobytes = {};
      continue;
    }
    const colon = line.indexOf(':');
    const key = line.slice(0, colon);
    if (key !== 'VmFlags') {
      kilobytes[key] = Number.parseInt(line.slice(colon + 1), 10);
    } else if (header !== null) {
      const vma = toVma(header, kilobytes, line.slice(colon + 1));
      if (vma.name !== '[vsyscall]') vmas.push(vma);
      header = null;
    }
  }
  return vmas;
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
    offset: Number.parseInt(offset!, 16),
    device: device!,
    inode: Number(inode),
    name: name!,
    hasGuards: / gu\b/.test(flags),
    totals: {
      rss: kilobytes.Rss ?? 0,
      anonymous: kilobytes.Anonymous ?? 0,
      swap: kilobytes.Swap ?? 0,
      ksm: kilobytes.KSM ?? 0,
      anonHugePages: kilobytes.AnonHugePages ?? 0,
    },
  };
}

function parseFlags(letters: string): number {
  let flags = 0;
  for (const pair of letters.trim().split(/\s+/)) flags |= FLAG_BITS[pair] ?? 0;
  return flags >>> 0;
}
