/**
 * Reads /proc of a process in the slow, obvious way. Shares no code with src/: the tests compare
 * the import with it.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';

export const PAGE = 4096;

/** A mapping as /proc/PID/smaps shows it. */
export interface ProcVma {
  readonly start: number; // address
  readonly end: number;
  readonly perms: string; // 'rw-p'
  readonly offset: number; // bytes
  readonly device: string; // 'fe:00'
  readonly inode: string;
  /** Raw bytes as latin1; '' without a name. */
  readonly name: string;
  /** The two-letter names of VmFlags. */
  readonly letters: readonly string[];
  /** Totals in kB, by name. */
  readonly kb: ReadonlyMap<string, number>;
}

const TOTALS = new Set(['Rss', 'Anonymous', 'Swap', 'KSM', 'AnonHugePages']);

/** Returns every mapping except [vsyscall], which does not belong to the process. */
export function readSmaps(pid: number): ProcVma[] {
  const vmas: ProcVma[] = [];
  let letters: string[] = [];
  let kb = new Map<string, number>();
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'latin1').split('\n')) {
    const key = line.slice(0, line.indexOf(':'));
    if (TOTALS.has(key)) {
      kb.set(key, Number.parseInt(line.slice(key.length + 1), 10));
    } else if (key === 'VmFlags') {
      letters.push(...line.split(' ').slice(1).filter(Boolean));
    } else if (/^[0-9a-f]+-[0-9a-f]+ [-rwxsp]{4} /.test(line)) {
      letters = [];
      kb = new Map();
      vmas.push({ ...parseHeader(line), letters, kb });
    }
  }
  return vmas.filter(({ name }) => name !== '[vsyscall]');
}

/** Parses `7f21c000-7f21e000 rw-p 00001000 fe:00 260131      /usr/bin/cat`. */
function parseHeader(line: string): Omit<ProcVma, 'letters' | 'kb'> {
  const [range, perms, offset, device, inode] = line.split(' ');
  const [start, end] = range!.split('-');
  const before = [range, perms, offset, device, inode].join(' ').length;
  return {
    start: Number.parseInt(start!, 16),
    end: Number.parseInt(end!, 16),
    perms: perms!,
    offset: Number.parseInt(offset!, 16),
    device: device!,
    inode: inode!,
    name: line.slice(before).replace(/^ +/, '').replaceAll('\\012', '\n'),
  };
}

/** An entry of the page map, with its bits by name. */
export interface PagemapEntry {
  readonly address: number;
  readonly pfn: number; // 0 without privilege
  readonly isGuard: boolean;
  /** The page belongs to a file, or to shared anonymous memory. */
  readonly isFile: boolean;
  readonly isSwapped: boolean;
  readonly isPresent: boolean;
}

const BIT_GUARD = 1n << 58n;
const BIT_FILE = 1n << 61n;
const BIT_SWAP = 1n << 62n;
const BIT_PRESENT = 1n << 63n;
const MASK_PFN = (1n << 55n) - 1n;
/** Number of entries per read. */
const BATCH = 0x1_0000;

/** Returns the entries of [start, end) that are not empty. */
export function readPagemap(fd: number, start: number, end: number): PagemapEntry[] {
  const entries: PagemapEntry[] = [];
  for (let from = start; from < end; from += BATCH * PAGE) {
    const pages = Math.min(BATCH, (end - from) / PAGE);
    const words = new BigUint64Array(pages);
    readExactly(fd, new Uint8Array(words.buffer), (from / PAGE) * 8);
    words.forEach((word, index) => {
      const isPresent = (word & BIT_PRESENT) !== 0n;
      const isSwapped = (word & BIT_SWAP) !== 0n;
      const isGuard = (word & BIT_GUARD) !== 0n;
      if (!isPresent && !isSwapped && !isGuard) return;
      entries.push({
        address: from + index * PAGE,
        pfn: isPresent ? Number(word & MASK_PFN) : 0,
        isGuard,
        isFile: (word & BIT_FILE) !== 0n,
        isSwapped,
        isPresent,
      });
    });
  }
  return entries;
}

/** The bits of /proc/kpageflags that the tests use. */
export interface KernelPage {
  readonly isZeroPage: boolean;
  readonly isHuge: boolean;
  readonly isMerged: boolean;
}

const KPF_KSM = 1n << 21n;
const KPF_THP = 1n << 22n;
const KPF_ZERO_PAGE = 1n << 24n;

export function readKernelPage(kpageflags: number, pfn: number): KernelPage {
  const word = new BigUint64Array(1);
  readExactly(kpageflags, new Uint8Array(word.buffer), pfn * 8);
  const flags = word[0]!;
  return {
    isZeroPage: (flags & KPF_ZERO_PAGE) !== 0n,
    isHuge: (flags & KPF_THP) !== 0n,
    isMerged: (flags & KPF_KSM) !== 0n,
  };
}

function readExactly(fd: number, into: Uint8Array, position: number): void {
  for (let done = 0; done < into.length; ) {
    const count = readSync(fd, into, done, into.length - done, position + done);
    if (count === 0) throw new Error(`read of ${into.length} bytes at ${position} ended early`);
    done += count;
  }
}

/** Reads one page of a process's memory. */
export function readPage(mem: number, address: number): Buffer {
  const page = Buffer.alloc(PAGE);
  readExactly(mem, page, address);
  return page;
}

/** Runs `action` with a file opened for reading. */
export function withFile<T>(path: string, action: (fd: number) => T): T {
  const fd = openSync(path, 'r');
  try {
    return action(fd);
  } finally {
    closeSync(fd);
  }
}

/** Returns a field of /proc/PID/stat, numbered as in proc(5), from number 3 on. */
export function statField(pid: number, number: number): string {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[number - 3]!;
}

/** Whether this process may open a file of /proc. */
export function isReadable(path: string): boolean {
  try {
    withFile(path, () => {});
    return true;
  } catch {
    return false;
  }
}

/** Returns the states of all threads, such as 'TTT'; '' once the process is gone. */
export function threadStates(pid: number): string {
  try {
    return readdirSync(`/proc/${pid}/task`)
      .map((thread) => {
        const text = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1');
        return text.charAt(text.lastIndexOf(')') + 2);
      })
      .join('');
  } catch {
    return '';
  }
}

const BOUND_MS = 120_000;

/** Polls /proc until `condition` holds, where there is no event. Throws after a time limit. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + BOUND_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The same, but blocks the event loop. */
export function untilNow(what: string, condition: () => boolean): void {
  const deadline = Date.now() + BOUND_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
  }
}
