/**
 * Finds the parts of a core file that have data. The others are holes, which are never read.
 *
 * 1. A file whose blocks account for all of its bytes has no holes.
 * 2. With koffi, lseek(SEEK_DATA) and lseek(SEEK_HOLE) tell.
 * 3. Without it, reading past the page cache shows where a read brings data from the device
 *    (`sparse-search.ts`), in steps of 4 MiB. Not every file system allows that.
 * 4. If nothing tells, everything counts as data. The zeros are found when somebody looks at them.
 */
import { hasNativeCalls, nativeFunction } from '../../../shared/native/library.ts';
import { addressOf, PAGE_SIZE } from '../../../shared/page.ts';
import type { Ranges } from '../../../shared/ranges.ts';
import type { Yielder } from '../../job/stop.ts';
import { findData } from '../sparse-search.ts';
import type { CoreFile } from './core-file.ts';

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** Beyond this many parts with data, the rest of the file counts as one. */
const RANGES_MAX = 0x4_0000;

/** The parts of the file that may have data, in bytes. Undefined: all of it. */
export async function dataOf(core: CoreFile, yielder: Yielder): Promise<Ranges | undefined> {
  if (!core.isSparse) return undefined;
  if (hasNativeCalls()) return await seekData(core, yielder);
  const pages = [{ from: 0, to: Math.ceil(core.bytes / PAGE_SIZE) }];
  // The header is data, so the search can see whether it finds data at all.
  const found = await findData(core.path, pages, 0, yielder);
  return found?.map(({ from, to }) => ({ from: addressOf(from), to: addressOf(to) }));
}

async function seekData({ handle, bytes }: CoreFile, yielder: Yielder): Promise<Ranges> {
  // The offset of the descriptor changes. Nobody uses it: all reads name their position.
  const lseek = nativeFunction('long lseek(int, long, int)');
  const found: Ranges = [];
  for (let at = 0; at < bytes; ) {
    if (yielder.isDue()) await yielder.yield();
    const from = lseek(handle.fd, at, SEEK_DATA);
    if (from < 0) return found; // ENXIO: nothing but a hole is left
    const hole = found.length === RANGES_MAX ? bytes : lseek(handle.fd, from, SEEK_HOLE);
    const to = hole < 0 ? bytes : hole;
    found.push({ from, to });
    at = to;
  }
  return found;
}
