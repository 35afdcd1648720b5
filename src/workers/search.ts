/** The search phase: looks for a sequence of bytes in the pages of an image. */
import {
  SEARCH_PIECE,
  SEARCH_UNIT,
  type SearchReport,
  type SearchTask,
} from '../shared/dump/tasks/search-task.ts';
import type { Outcome } from '../shared/errors.ts';
import { PAGE_SIZE } from '../shared/page.ts';
import { PackedBlocks } from './task/packed-blocks.ts';
import { Reader } from './task/read-at.ts';
import { runUnits } from './task/run-units.ts';

const { PLACE, BYTES, PACKED, WHOLE, FROM, WORDS: PIECE_WORDS } = SEARCH_PIECE;
const { PIECE, SKIP, STARTS, BYTES: UNIT_BYTES, MM, ADDRESS, WORDS: UNIT_WORDS } = SEARCH_UNIT;

/** Searches the units that this worker claims. They ascend by mm and address. */
export function search(task: SearchTask): Outcome<SearchReport> {
  const reader = new Reader(task.source);
  const blocks = new PackedBlocks(reader);
  const pieces = new Float64Array(task.pieces);
  const units = new Float64Array(task.units);
  const buffer = Buffer.allocUnsafeSlow(Math.max(1, task.unitBytes));
  const pattern = Buffer.from(task.pattern);
  const matches: number[] = [];
  let count = 0;
  const outcome = runUnits(task, task.unitCount, (unit) => {
    const at = unit * UNIT_WORDS;
    const bytes = units[at + UNIT_BYTES]!;
    const starts = units[at + STARTS]!;
    load({ reader, blocks }, pieces, units[at + PIECE]!, units[at + SKIP]!, buffer, bytes);
    const end = bytes - pattern.length;
    for (let found = buffer.indexOf(pattern); found >= 0 && found <= end && found < starts; ) {
      count++;
      if (matches.length < task.most * 2) {
        matches.push(units[at + MM]!, units[at + ADDRESS]! + found);
      }
      found = buffer.indexOf(pattern, found + 1);
    }
    return { pages: starts / PAGE_SIZE, bytes: starts };
  });
  if (!outcome.ok) return outcome;
  return { ok: true, value: { ...outcome.value, matches: Float64Array.from(matches), count } };
}

/** Fills the first `bytes` bytes of the buffer from byte `skip` of a piece on. */
function load(
  { reader, blocks }: { readonly reader: Reader; readonly blocks: PackedBlocks },
  pieces: Float64Array,
  piece: number,
  skip: number,
  buffer: Buffer,
  bytes: number,
): void {
  for (let done = 0; done < bytes; piece++) {
    const at = piece * PIECE_WORDS;
    const place = pieces[at + PLACE]!;
    const packed = pieces[at + PACKED]!;
    const count = Math.min(bytes - done, pieces[at + BYTES]! - skip);
    if (place < 0) buffer.fill(0, done, done + count);
    else if (packed === 0) reader.read(buffer, done, count, place + skip);
    else {
      const from = pieces[at + FROM]! + skip;
      buffer.set(
        blocks.pages(place, packed, pieces[at + WHOLE]!).subarray(from, from + count),
        done,
      );
    }
    done += count;
    skip = 0;
  }
}
