/** Compares two images: the mms, their mappings, and the pages, with all workers. */
import { PAGE_SIZE } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { WorkerPool } from '../crew/pool.ts';
import type { ImageMm } from '../image/index/image-mm.ts';
import type { ImageContents, PayloadPart } from '../image/read/image-contents.ts';
import { PageChanges } from './changed-pages.ts';
import { changedStates } from './changed-states.ts';
import type { DiffOptions, FieldChange, ImageDiff, MmDiff } from './diff-report.ts';
import { ImageSide } from './image-side.ts';
import { type PairedMappings, pairMappings } from './mapping-pairs.ts';

/** An image that is compared. */
export interface DiffedImage {
  readonly contents: ImageContents;
  readonly id: string;
}

/** Everything that an mm of an image can have beside its pages. */
const ALL_PAYLOADS: readonly PayloadPart[] = ['auxv', 'notes', 'ldt'];

/**
 * Compares two images. It reads the pages that the records do not tell to be equal, and verifies
 * none: to find damage is the task of a verification. Without `comparesState` it does not look at
 * the state of the images.
 */
export async function diffWith(
  pool: WorkerPool,
  left: DiffedImage,
  right: DiffedImage,
  comparesState: boolean,
  options: DiffOptions,
): Promise<ImageDiff> {
  const { signal } = options;
  for (const { contents } of [left, right]) await contents.openChain(signal);
  const count = Math.min(left.contents.mms.length, right.contents.mms.length);
  const paired: PairedMappings[] = [];
  let totalPages = 0;
  for (let mm = 0; mm < count; mm++) {
    throwIfAborted(signal);
    const mappings = pairMappings(left.contents.mm(mm), right.contents.mm(mm));
    for (const { bytes } of mappings.pairs) totalPages += bytes / PAGE_SIZE;
    paired.push(mappings);
  }
  const sides = [left, right].map(({ contents, id }) => new ImageSide(contents, id));
  const pages = new PageChanges(pool, sides[0]!, sides[1]!, totalPages, options);
  for (const [mm, { pairs }] of paired.entries()) {
    for (const pair of pairs) await pages.compare(mm, pair);
  }
  await pages.finish();
  const state = comparesState ? await changedStates(left.contents, right.contents, signal) : [];
  throwIfAborted(signal); // it may have fired in the last call of `onProgress`
  const mms: MmDiff[] = [];
  for (const [mm, { changes }] of paired.entries()) {
    const a = left.contents.mm(mm);
    const b = right.contents.mm(mm);
    const changed: PayloadPart[] = [];
    for (const part of ALL_PAYLOADS) {
      if (await hasChanged(part, left.contents, a, right.contents, b)) changed.push(part);
    }
    const counts = { leftMappings: a.vmas.length, rightMappings: b.vmas.length };
    const rest = { fields: changedFields(a, b), payloads: changed, mappings: changes };
    mms.push({ mm, in: 'both', ...counts, ...rest, ...pages.tally(mm) });
  }
  mms.push(...surplus(left.contents.mms.slice(count), 'left'));
  mms.push(...surplus(right.contents.mms.slice(count), 'right'));
  const { changedPages, classChanges, unlisted, bytesRead } = pages;
  const same = state.length === 0 && mms.every(isSame);
  return { same, state, mms, changedPages, classChanges, unlisted, bytesRead };
}

function isSame({ in: where, fields, payloads, mappings, changed, reclassified }: MmDiff): boolean {
  const differences = fields.length + payloads.length + mappings.length + changed + reclassified;
  return where === 'both' && differences === 0;
}

/** Mms that only one of the images has. */
function surplus(mms: readonly ImageMm[], side: 'left' | 'right'): MmDiff[] {
  return mms.map(({ ordinal, vmas }) => ({
    mm: ordinal,
    in: side,
    leftMappings: side === 'left' ? vmas.length : 0,
    rightMappings: side === 'right' ? vmas.length : 0,
    ...{ fields: [], payloads: [], mappings: [], pages: 0, changed: 0, reclassified: 0 },
  }));
}

function changedFields(a: ImageMm, b: ImageMm): FieldChange[] {
  return Object.entries(a.fields)
    .map(([name, left]) => ({ name, left, right: b.fields[name as keyof typeof b.fields] }))
    .filter(({ left, right }) => left !== right);
}

async function hasChanged(
  part: PayloadPart,
  left: ImageContents,
  a: ImageMm,
  right: ImageContents,
  b: ImageMm,
): Promise<boolean> {
  if (a[part] === null && b[part] === null) return false;
  if (a[part]?.bytes !== b[part]?.bytes) return true;
  return Buffer.compare(await left.payload(a, part), await right.payload(b, part)) !== 0;
}
