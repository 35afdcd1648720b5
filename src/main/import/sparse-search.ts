/**
 * Finds out where a large file has data, at the speed of memory: 64 GiB of holes take about a
 * second. Node has no lseek(SEEK_DATA), so the search reads. A direct read (O_DIRECT) of a hole
 * costs the kernel nothing but zeroing the buffer, and /proc counts the bytes that reads have
 * brought from the device (`read_bytes`). One read covers 256 MiB, all of it into the same 256 KiB,
 * which stay in the processor's cache. If the count stands still, the range has no data.
 *
 * This is true only where direct reads reach the device: on ext4 and XFS, but not for files that
 * are encrypted or whose data is journalled, which the kernel reads through the page cache. That is
 * a property of the whole file, so one page shows it: reading its data a second time has to bring
 * it from the device again. Unless that was seen, the search has no result.
 */
import { constants, readFileSync, readvSync } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { addressOf, MiB, PAGE_SIZE } from '../../shared/page.ts';
import { addRange, type Range, type Ranges } from '../../shared/ranges.ts';
import { Memory } from '../../shared/wasm.ts';
import type { Yielder } from '../job/stop.ts';

/**
 * Bytes of the buffer. Direct reads need an aligned one, and the memory of WebAssembly is aligned.
 */
const BUFFER_BYTES = 0x4_0000;
/** Bytes of one read: IOV_MAX times the buffer, the most that the kernel takes in one call. */
const COARSE = 1024 * BUFFER_BYTES;
/** Data is narrowed down to steps of this many bytes. */
const FINE = 4 * MiB;
/** Reads at the same time: one for each thread of Node's pool, which has four by default. */
const READS = 4;

/**
 * Returns the parts of the ranges (pages of the file) that may have data, in steps of 4 MiB;
 * undefined where that cannot be found out. `known` is a page that has data, if one is known.
 * Rejects with AbortError, through `yielder`.
 */
export async function findData(
  path: string | Buffer,
  ranges: Ranges,
  known: number | undefined,
  yielder: Yielder,
): Promise<Ranges | undefined> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECT).catch(() => undefined);
  if (handle === undefined) return undefined; // the file system has no direct reads
  try {
    const search = new SparseSearch(handle);
    const found: Ranges = [];
    for (const round of roundsOf(ranges)) {
      await yielder.yield();
      if (await search.isEmpty(round)) continue;
      for (const coarse of round) await search.narrow(coarse, found, yielder);
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

  /**
   * Whether these ranges certainly have no data. Reads of other threads meanwhile look like data.
   */
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

  /** Adds those steps of a range that have data to `found`. */
  async narrow({ from, to }: Range, found: Ranges, yielder: Yielder): Promise<void> {
    for (let at = from; at < to; at += FINE) {
      if (yielder.isDue()) await yielder.yield();
      const end = Math.min(to, at + FINE);
      if (this.#hasData(at, end)) addRange(found, at, end);
    }
  }

  /** Whether each read of the step at this byte brings data from the device. */
  isDirect(at: number): boolean {
    return this.#hasData(at, at + FINE) && this.#hasData(at, at + FINE);
  }

  /** Whether there is data from `from` to `to`. It counts only what this thread has read. */
  #hasData(from: number, to: number): boolean {
    const before = bytesRead(readFileSync('/proc/thread-self/io', 'latin1'));
    for (let at = from; at < to; ) {
      const count = readvSync(this.#handle.fd, this.#views(to - at), at);
      if (count === 0) break;
      at += count;
    }
    return bytesRead(readFileSync('/proc/thread-self/io', 'latin1')) !== before;
  }

  /** The buffer, repeated until it covers `bytes`. */
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

/** Cuts the ranges into reads of at most COARSE bytes, and yields READS of them at a time. */
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

/**
 * The bytes that were brought from devices, from the text of /proc/PID/io. If the kernel does not
 * count them, this throws as a failed system call does, which ends the search.
 */
function bytesRead(io: string): number {
  const count = /^read_bytes: (\d+)$/m.exec(io)?.[1];
  if (count !== undefined) return Number(count);
  throw Object.assign(new Error('the kernel does not count what is read'), { syscall: 'read' });
}
