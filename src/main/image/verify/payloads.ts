/**
 * Verifies the payloads of an image: all workers digest them, and the coordinator reports those
 * whose digest differs, with their places.
 */
import { DIGEST, mismatchText } from '../../../shared/digest/digest-kind.ts';
import { PayloadTable, payloadTableBytes } from '../../../shared/dump/payload-table.ts';
import { pad8 } from '../../../shared/formats/cpt/encode-mm.ts';
import { pagesText } from '../../../shared/formats/problem.ts';
import { addressOf, MiB, PAGE_SIZE } from '../../../shared/page.ts';
import { throwIfAborted } from '../../../shared/sync/wait.ts';
import type { WorkerPool } from '../../crew/pool.ts';
import { cutIntoUnits } from '../../crew/units.ts';
import type { PhaseProgress } from '../../job/progress.ts';
import { loadDigestKernels } from '../../package/kernels.ts';
import type { BlockIndex } from '../index/block-index.ts';
import type { ImageMm, ImageVma } from '../index/image-mm.ts';
import { type ImageState, stateText } from '../index/image-state.ts';
import { INDEX_COST, type IndexBudget } from '../index/index-budget.ts';
import type { ByteSource } from '../source/byte-source.ts';
import type { ProblemList } from './problem-list.ts';
import type { VerifyOptions } from './verify.ts';

/** A payload with a checksum, and its place. */
interface Checked {
  readonly offset: number; // byte of the image
  readonly bytes: number;
  /** Ordinal of the mm; null for a state, which belongs to the image. */
  readonly mm: number | null;
  /** The VMA of a block of pages; null for other payloads, which `name` describes. */
  readonly vma: ImageVma | null;
  readonly address: number | null;
  readonly name: string;
}

/** The records whose payloads are verified. */
export interface VerifiedRecords {
  readonly states: readonly ImageState[];
  readonly mms: readonly ImageMm[];
}

/** Bytes per unit, so few that all workers end within a millisecond of each other. */
const UNIT_BYTES = MiB;

/** Payloads that an mm may have beside its pages, in the order in which problems are listed. */
const PAYLOAD_PARTS = ['auxv', 'notes', 'ldt'] as const;
const PAYLOAD_NAMES = { auxv: 'auxiliary vector', notes: 'notes', ldt: 'LDT' } as const;

/** Describes the payloads one at a time, in the order of the table, for messages. */
function* payloadsOf({ states, mms }: VerifiedRecords): Generator<Checked> {
  for (const { name, offset, bytes } of states) {
    yield { offset, bytes, mm: null, vma: null, address: null, name: stateText(name) };
  }
  for (const mm of mms) {
    yield* blocksOf(mm);
    for (const part of PAYLOAD_PARTS) {
      const payload = mm[part];
      const name = PAYLOAD_NAMES[part];
      if (payload !== null) yield { ...payload, mm: mm.ordinal, vma: null, address: null, name };
    }
  }
}

/** A compressed block without a digest is checked, too: its frame must have as many bytes as it. */
function isChecked(blocks: BlockIndex, index: number): boolean {
  return blocks.digest(index) !== DIGEST.NONE || blocks.packed(index) > 0;
}

function* blocksOf(mm: ImageMm): Generator<Checked> {
  for (const vma of mm.vmas) {
    for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
      if (!isChecked(mm.blocks, index)) continue;
      const block = mm.blocks.at(index);
      const address = addressOf(block.start);
      const bytes = block.pages * PAGE_SIZE;
      yield { mm: mm.ordinal, vma, address, offset: block.source, bytes, name: 'pages' };
    }
  }
}

function whatIs({ mm, vma, address, bytes, name }: Checked): string {
  if (mm === null) return name;
  if (vma === null || address === null) return `mm ${mm}, ${name}`;
  return pagesText(mm, vma, address, bytes);
}

/** Verifies all payloads and adds the problems to `problems`. Throws AbortError. */
export async function verifyPayloads(
  source: ByteSource,
  records: VerifiedRecords,
  pool: WorkerPool,
  options: VerifyOptions,
  problems: ProblemList,
  budget: IndexBudget,
): Promise<void> {
  const { table, buffer, count, totalBytes } = tableOf(records, budget);
  const units = cutIntoUnits(count, (index) => table.bytes(index), UNIT_BYTES);
  const crew = pool.crew({
    units: units.unitCount,
    bytes: totalBytes,
    mayRunHere: true,
  });
  const digestKernel = loadDigestKernels().inside;
  const task = { ...units, source: source.reach, payloads: buffer, digestKernel };
  const { signal, onProgress } = options;
  const tell = onProgress && (({ bytes }: PhaseProgress) => onProgress({ bytes, totalBytes }));
  await pool.phase('verify', crew).run(() => task, { signal, onProgress: tell });
  throwIfAborted(signal); // it may have fired in the last call of `onProgress`
  if (firstDifference(table, count) < count) reportDifferences(records, table, problems);
}

/**
 * Tabulates all payloads in the order of `payloadsOf`. There may be millions, so there
 * is no object per payload.
 */
function tableOf(
  { states, mms }: VerifiedRecords,
  budget: IndexBudget,
): {
  readonly table: PayloadTable;
  readonly buffer: SharedArrayBuffer;
  readonly count: number;
  readonly totalBytes: number;
} {
  let count = states.length;
  for (const { blocks, ...mm } of mms) {
    for (let index = 0; index < blocks.count; index++) if (isChecked(blocks, index)) count++;
    for (const part of PAYLOAD_PARTS) if (mm[part] !== null) count++;
  }
  budget.take(count * INDEX_COST.PAYLOAD);
  const buffer = new SharedArrayBuffer(payloadTableBytes(count));
  const table = new PayloadTable(buffer);
  let totalBytes = 0;
  let set = 0;
  for (const { offset, bytes, crc } of states) {
    table.set(set++, offset, pad8(bytes), DIGEST.CRC32, crc, 0);
    totalBytes += bytes;
  }
  for (const { blocks, ...mm } of mms) {
    for (let index = 0; index < blocks.count; index++) {
      if (!isChecked(blocks, index)) continue;
      const kind = blocks.digest(index);
      const bytes = blocks.pages(index) * PAGE_SIZE;
      table.set(set, blocks.source(index), bytes, kind, blocks.low(index), blocks.high(index));
      if (blocks.packed(index) > 0) table.setPacked(set, blocks.packed(index), bytes, 0);
      set++;
      totalBytes += bytes;
    }
    for (const part of PAYLOAD_PARTS) {
      const payload = mm[part];
      if (payload === null) continue;
      table.set(set++, payload.offset, payload.bytes, DIGEST.CRC32, payload.crc, 0);
      totalBytes += payload.bytes;
    }
  }
  return { table, buffer, count, totalBytes };
}

function firstDifference(table: PayloadTable, count: number): number {
  let index = 0;
  while (index < count && table.isSame(index)) index++;
  return index;
}

function reportDifferences(
  records: VerifiedRecords,
  table: PayloadTable,
  problems: ProblemList,
): void {
  let index = -1;
  for (const payload of payloadsOf(records)) {
    if (table.isSame(++index)) continue;
    const { offset, address } = payload;
    if (table.isBroken(index)) {
      const message = `${whatIs(payload)}, payload at byte ${offset}: its zstd frame is damaged`;
      problems.add({ code: 'IMAGE_CORRUPT', offset, address, message });
      continue;
    }
    const differs = mismatchText(table.stored(index), table.found(index));
    const message = `${whatIs(payload)}, payload at byte ${offset}: ${differs}`;
    problems.add({ code: 'IMAGE_CHECKSUM', offset, address, message });
  }
}
