/**
 * Reads an OpenVZ 6 container file as an image. Its address spaces become the records of a native
 * image, which the checker of native images takes: so everything that reads images reads it, too.
 * Blocks are cut where granules end, as they are in native images.
 */
import { crc32 } from 'node:zlib';
import type { ImageHead } from '../../../shared/formats/cpt/head.ts';
import type { ObjectBase } from '../../../shared/formats/cpt/objects.ts';
import { PAGES_FLAG, VMA_TYPE } from '../../../shared/formats/cpt/records.ts';
import {
  OPENVZ_COPYPAGES,
  OPENVZ_MM,
  OPENVZ_PAGES,
  OPENVZ_VMA,
} from '../../../shared/formats/openvz/fields.ts';
import { VERSION } from '../../../shared/formats/openvz/records.ts';
import { addressOf, granuleEnd, PAGE_SIZE } from '../../../shared/page.ts';
import { VM } from '../../../shared/vm-flags.ts';
import { Yielder } from '../../job/stop.ts';
import { BLOCK } from '../index/block-index.ts';
import type { ImageMm, Payload } from '../index/image-mm.ts';
import type { IndexBudget } from '../index/index-budget.ts';
import type { CheckedRecords } from '../read/image-contents.ts';
import type { ByteSource } from '../source/byte-source.ts';
import { StreamChecker } from '../stream/checker.ts';
import type { Container, FoundMm, FoundTask, FoundVma } from './container.ts';
import { ContainerFiles } from './files.ts';
import { type PlacedByVma, placeFilePages } from './place-file-pages.ts';
import { readContainer } from './read-container.ts';
import { notesOf } from './task-notes.ts';

/** The records of a container file. */
export interface OpenvzRecords {
  readonly records: CheckedRecords;
  /** What the file holds besides, which is not read: one line each. */
  readonly unread: readonly string[];
  /** How many blocks and mappings it has. */
  readonly objects: number;
}

/** Throws an ImageProblem, IMAGE_TOO_LARGE beyond the budget, INPUT_FAILED, and AbortError. */
export async function readOpenvz(
  source: ByteSource,
  budget: IndexBudget,
  signal: AbortSignal | undefined,
): Promise<OpenvzRecords> {
  const container = await readContainer(source, budget, signal);
  const placed = placeFilePages(container, budget);
  const head = headOf(container, source.bytes);
  const checker = new StreamChecker(head, budget, (problem) => {
    throw problem;
  });
  const feeder = new Feeder(container, placed, checker);
  const yielder = new Yielder(signal);
  for (const mm of container.mms) {
    for (const _ of feeder.mm(mm)) {
      if (yielder.isDue()) await yielder.yield();
    }
  }
  checker.finish(source.bytes);
  const mms = withPayloads(container, checker.mms, budget);
  const { filePages } = checker;
  const { objects } = feeder;
  return {
    records: { head, mms, filePages, states: [] },
    unread: container.unread.lines(),
    objects,
  };
}

function headOf({ time, mms }: Container, bytes: number): ImageHead {
  const same = { frozen: true, digest: 'none', dontDump: false, compress: 'none' } as const;
  const none = { parent: null, parentCrc: 0, recordCrc: 0 };
  const count = { totalLen: bytes, mmCount: mms.length };
  return { bytes: 80, version: VERSION, ...same, time, ...count, ...none };
}

/** Gives the records of a container file to the checker of native images. */
class Feeder {
  /** Objects that it has given to the checker. */
  objects = 0;
  readonly #placed: PlacedByVma;
  readonly #checker: StreamChecker;
  readonly #files: ContainerFiles;
  /** Numbers of anon_vmas, by first appearance. */
  readonly #anonIds = new Map<bigint, number>();

  constructor(container: Container, placed: PlacedByVma, checker: StreamChecker) {
    this.#placed = placed;
    this.#checker = checker;
    this.#files = new ContainerFiles(container);
  }

  /** Gives an mm. It yields after each object. */
  *mm(mm: FoundMm): Generator<void, void> {
    const { offset, fields, vmas } = mm;
    const object = { type: 'MM', ...placeOf(offset, OPENVZ_MM.SIZE), fields } as const;
    this.#add({ ...object, mapCount: vmas.length });
    yield;
    for (const vma of vmas) yield* this.#vma(mm, vma);
  }

  *#vma(mm: FoundMm, vma: FoundVma): Generator<void, void> {
    this.#addVma(mm, vma);
    yield;
    const placed = this.#placed.get(vma) ?? [];
    const isShared = (vma.flags & VM.MAYSHARE) !== 0;
    const flags = isShared ? 0 : PAGES_FLAG.FILE_PAGES;
    let next = 0;
    for (let index = vma.firstBlock; index <= vma.lastBlock; index++) {
      const block = index === vma.lastBlock ? undefined : mm.blocks.at(index);
      const before = block?.start ?? Number.MAX_SAFE_INTEGER;
      for (; next < placed.length && placed[next]!.start < before; next++) {
        const { start, pages, source } = placed[next]!;
        yield* this.#pages(start, pages, source, flags);
      }
      if (block === undefined) break;
      const { start, pages, source, kind } = block;
      if (kind === BLOCK.DATA) yield* this.#pages(start, pages, source, 0);
      else yield* this.#clone(start, pages, source, vma.offset);
    }
  }

  #addVma(mm: FoundMm, vma: FoundVma): void {
    const { offset, file, isVdso, anonvmaid: of, start, end, flags } = vma;
    const { pgprotLow, pgprotHigh, pgoff } = vma;
    const hasName = file !== null;
    const vmaType = hasName ? VMA_TYPE.FILE : isVdso ? VMA_TYPE.VDSO : VMA_TYPE.TYPE_0;
    const anonvmaid = this.#anonId(of);
    const ids = { anonvma: anonvmaid === 0 ? 0 : 1, anonvmaid };
    const place = { ...placeOf(offset, OPENVZ_VMA.SIZE), hasName, vmaType, start, end, flags };
    const rest = { pgprotLow, pgprotHigh, pgoff, pageNum: this.#pageNum(mm, vma) };
    this.#add({ type: 'VMA', ...place, ...ids, ...rest });
    if (!hasName) return;
    const { object, payload } = this.#files.name(vma);
    this.#checker.add(object, payload);
  }

  #anonId(id: bigint): number {
    if (id === 0n) return 0;
    const known = this.#anonIds.get(id) ?? this.#anonIds.size + 1;
    this.#anonIds.set(id, known);
    return known;
  }

  #pageNum({ blocks }: FoundMm, vma: FoundVma): number {
    let pages = 0;
    for (let at = vma.firstBlock; at < vma.lastBlock; at++) pages += blocks.pages(at);
    for (const placed of this.#placed.get(vma) ?? []) pages += placed.pages;
    return pages;
  }

  *#pages(start: number, pages: number, source: number, flags: number): Generator<void, void> {
    for (const piece of granules(start, pages)) {
      const at = source + (piece.start - start) * PAGE_SIZE - OPENVZ_PAGES.SIZE;
      const bytes = piece.pages * PAGE_SIZE;
      const place = placeOf(at, OPENVZ_PAGES.SIZE, bytes);
      const range = { start: addressOf(piece.start), end: addressOf(piece.start + piece.pages) };
      const content = { hasData: true, digestLow: 0, digestHigh: 0, flags };
      this.#add({ type: 'PAGES', ...place, ...range, ...content });
      yield;
    }
  }

  *#clone(start: number, pages: number, source: number, offset: number): Generator<void, void> {
    for (const piece of granules(start, pages)) {
      const range = { start: addressOf(piece.start), end: addressOf(piece.start + piece.pages) };
      const place = placeOf(offset, OPENVZ_COPYPAGES.SIZE);
      this.#add({ type: 'COPYPAGES', ...place, ...range, source });
      yield;
    }
  }

  #add(object: Parameters<StreamChecker['add']>[0]): void {
    this.objects++;
    this.#checker.add(object, undefined);
  }
}

function placeOf(offset: number, headerLength: number, payload = 0): ObjectBase {
  return { offset, length: headerLength + payload, headerLength, recordCrc: 0 };
}

function* granules(
  start: number,
  pages: number,
): Generator<{ readonly start: number; readonly pages: number }, void> {
  const end = start + pages;
  for (let at = start; at < end; ) {
    const next = Math.min(end, granuleEnd(at));
    yield { start: at, pages: next - at };
    at = next;
  }
}

/** The mms, with what the records tell of them besides mappings. */
function withPayloads(
  { mms: found, tasks, unread }: Container,
  mms: readonly ImageMm[],
  budget: IndexBudget,
): ImageMm[] {
  const byMm = new Map<number, FoundTask[]>(found.map(({ offset }) => [offset, []]));
  for (const task of tasks) {
    if (task.mm === null) unread.add('task without an address space', 0);
    else if (byMm.get(task.mm)?.push(task) === undefined) {
      unread.add('task of an address space that is not there', 0);
    }
  }
  return mms.map((mm, ordinal) => {
    const { offset, auxv, ldt } = found[ordinal]!;
    const notes = notesOf(byMm.get(offset)!, unread);
    budget.take(notes?.length ?? 0);
    const payloads = { auxv: made(offset, auxv), notes: made(offset, notes) };
    return { ...mm, ...payloads, ldt: made(offset, ldt) };
  });
}

/** A payload that the reader has made of records, which begin at this byte. */
function made(offset: number, content: Uint8Array | null): Payload | null {
  if (content === null || content.length === 0) return null;
  return { offset, bytes: content.length, crc: crc32(content), content };
}
