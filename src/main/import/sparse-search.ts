/**
 * Finds out where a large file has data, at the speed of memory: 64 GiB of holes take about a second.
 * lseek(SEEK_DATA) is not in Node. What is: a direct read (O_DIRECT) of a hole costs the kernel nothing
 * but to zero the buffer, and /proc counts what a read has brought from the device (`read_bytes`). So
 * one read covers 256 MiB, all of it into the same 256 KiB, which stay in the processor's cache; a
 * range for which the count stands still has no data.
 *
 * This is true only where direct reads reach the device: on ext4 and XFS, and not of files that are
 * encrypted or whose data is journalled, which the kernel reads through the page cache. That is a
 * property of the whole file, so one page shows it: data is brought from the device again when it is
 * read a second time. Unless that was seen, nothing is said.
 */
import { constants, readFileSync, readvSync } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { addressOf, MiB, PAGE_SIZE } from '../../shared/page.ts';
import { addRange, type Range, type Ranges } from '../../shared/ranges.ts';
import { Memory } from '../../shared/wasm.ts';
import type { Turns } from '../job/stop.ts';

/** Bytes of the buffer, which has to be aligned: the memory of WebAssembly is. */
const BUFFER_BYTES = 0x4_0000;
/** Bytes of one read: as many times the buffer as the kernel takes at once (IOV_MAX). */
const COARSE = 1024 * BUFFER_BYTES;
/** Bytes to which data is narrowed down. */
const FINE = 4 * MiB;
/** Reads under way at the same time: as many threads as Node has for it. */
const READS = 4;

/**
 * The parts of the ranges (pages of the file) that may have data: steps of 4 MiB. `known`: a page that
 * has data, if any is known. Undefined where it cannot be found out. AbortError,
 * through `turns`.
 */
export async function findData(
  path: string | Buffer,
  ranges: Ranges,
  known: number | undefined,
  turns: Turns,
): Promise<Ranges | undefined> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECT).catch(() => undefined);
  if (handle === undefined) return undefined; // the file system has no direct reads
  try {
    const search = new SparseSearch(handle);
    const found: Ranges = [];
    for (const round of roundsOf(ranges)) {
      await turns.next();
      if (await search.isEmpty(round)) continue;
      for (const coarse of round) await search.narrow(coarse, found, turns);
    }
    const control = known === undefined ? found[0]?.from : addressOf(known);
    return control !== undefined && search.isDirect(control) ? inPages(found) : undefined;
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) return undefined; // a read was refused
    throw error;
  } finally {
    await handle.close();
  }
}

class SparseSearch {
  readonly #handle: FileHandle;
  readonly #buffer = new Uint8Array(new Memory({ initial: 4, maximum: 4, shared: true }).buffer);

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** Whether there is certainly no data in any of these. What others read meanwhile looks like data. */
  async isEmpty(ranges: Ranges): Promise<boolean> {
    const before = bytesRead(await readFile('/proc/self/io', 'latin1'));
    await Promise.all(ranges.map((range) => this.#readAhead(range)));
    return bytesRead(await readFile('/proc/self/io', 'latin1')) === before;
  }

  async #readAhead({ from, to }: Range): Promise<void> {
    for (let at = from; at < to; ) {
      const { bytesRead: count } = await this.#handle.readv(this.#views(to - at), at);
      if (count === 0) return; // the end of the file
      at += count;
    }
  }

  /** Adds the steps of a range that have data. */
  async narrow({ from, to }: Range, found: Ranges, turns: Turns): Promise<void> {
    for (let at = from; at < to; at += FINE) {
      if (turns.isDue()) await turns.next();
      const end = Math.min(to, at + FINE);
      if (this.#hasData(at, end)) addRange(found, at, end);
    }
  }

  /** Whether the step at this byte is brought from the device each time that it is read. */
  isDirect(at: number): boolean {
    return this.#hasData(at, at + FINE) && this.#hasData(at, at + FINE);
  }

  /** Counts what this thread alone has read. */
  #hasData(from: number, to: number): boolean {
    const before = bytesRead(readFileSync('/proc/thread-self/io', 'latin1'));
    for (let at = from; at < to; ) {
      const count = readvSync(this.#handle.fd, this.#views(to - at), at);
      if (count === 0) break;
      at += count;
    }
    return bytesRead(readFileSync('/proc/thread-self/io', 'latin1')) !== before;
  }

  /** The buffer again and again, for so many bytes. */
  #views(bytes: number): Uint8Array[] {
    const views = new Array<Uint8Array>(Math.floor(bytes / BUFFER_BYTES)).fill(this.#buffer);
    const rest = bytes % BUFFER_BYTES;
    if (rest > 0) views.push(this.#buffer.subarray(0, rest));
    return views;
  }
}

function inPages(ranges: Ranges): Ranges {
  return ranges.map(({ from, to }) => ({ from: from / PAGE_SIZE, to: to / PAGE_SIZE }));
}

/** Reads of at most COARSE bytes, several at a time. */
function* roundsOf(ranges: Ranges): Generator<Ranges> {
  let round: Ranges = [];
  for (const { from, to } of ranges) {
    const end = addressOf(to);
    for (let at = addressOf(from); at < end; at += COARSE) {
      round.push({ from: at, to: Math.min(end, at + COARSE) });
      if (round.length < READS) continue;
      yield round;
      round = [];
    }
  }
  if (round.length > 0) yield round;
}

/** Bytes that were brought from devices, of /proc/PID/io. Throws as a system call does if it lacks them. */
function bytesRead(io: string): number {
  const count = /^read_bytes: (\d+)$/m.exec(io)?.[1];
  if (count !== undefined) return Number(count);
  throw Object.assign(new Error('the kernel does not count what is read'), { syscall: 'read' });
}
