/** Carries a load of a ferry (`shared/dump/ferry.ts`), in the thread that owns the memory. */
import { type Berth, FERRY_LOAD } from '../../shared/dump/ferry.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { PhysicalMemory } from './physical-memory.ts';

/**
 * Copies the runs of a load between their frames and the buffer, or zeroes the frames. Throws
 * BANK_UNREACHABLE.
 */
export function carryLoad(memory: PhysicalMemory, berth: Berth, buffer: Uint8Array): void {
  const { kind } = berth;
  berth.each((pfn, page, pages) => {
    if (kind === FERRY_LOAD.ZERO) {
      memory.zero(pfn, pages);
      return;
    }
    const from = memory.byteAt(pfn);
    const frames = memory.bytesOf(pfn).subarray(from, from + pages * PAGE_SIZE);
    const at = page * PAGE_SIZE;
    if (kind === FERRY_LOAD.FETCH) buffer.set(frames, at);
    else frames.set(buffer.subarray(at, at + pages * PAGE_SIZE));
  });
}
