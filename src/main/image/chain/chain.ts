/**
 * The ancestors of an open image. Their records are read when they are needed for the first time,
 * so an image with many ancestors is opened as quickly as any other.
 *
 * All bytes of the chain are numbered, as if its images lay one behind the other: the open image
 * begins at byte 0, its parent where the open image ends, and so on. Workers read by these numbers.
 */
import type { SourceReach } from '../../../shared/dump/tasks/source-reach.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import type { IndexBudget } from '../index/index-budget.ts';
import type { CheckedRecords } from '../read/image-contents.ts';
import { type ByteSource, whileIntact } from '../source/byte-source.ts';
import { openSource } from '../source/open-source.ts';
import { readRecords } from '../stream/read-records.ts';
import type { Ancestor } from './ancestors.ts';

/** An ancestor whose records were read. */
export interface OpenAncestor {
  readonly source: ByteSource;
  readonly records: CheckedRecords;
  /** The number of its first byte among those of the chain. */
  readonly start: number;
}

/** The ancestors of one image, the parent first. */
export class ImageChain {
  readonly ancestors: readonly Ancestor[];
  readonly #budget: IndexBudget;
  readonly #starts: readonly number[];
  readonly #opening: (Promise<OpenAncestor> | undefined)[] = [];
  readonly #open: (OpenAncestor | undefined)[] = [];

  /** `bytes` is the length of the image itself. The records of all count against `budget`. */
  constructor(ancestors: readonly Ancestor[], bytes: number, budget: IndexBudget) {
    this.ancestors = ancestors;
    this.#budget = budget;
    const starts = [bytes];
    for (const { head } of ancestors) starts.push(starts.at(-1)! + head.totalLen);
    this.#starts = starts;
  }

  /** The ancestor with this ordinal, or undefined if its records were not read yet. */
  get(ordinal: number): OpenAncestor | undefined {
    return this.#open[ordinal];
  }

  /**
   * Reads the records of an ancestor if that was not done yet. Throws IMAGE_PARENT_DIFFERS if it is
   * another image than its child says, and the errors of `readRecords`.
   */
  open(ordinal: number, signal?: AbortSignal): Promise<OpenAncestor> {
    const opening = this.#opening[ordinal] ?? this.#read(ordinal, signal);
    this.#opening[ordinal] = opening;
    opening.catch(() => {
      this.#opening[ordinal] = undefined; // it may succeed the next time
    });
    return opening;
  }

  /** Reads the records of all ancestors. */
  async openAll(signal?: AbortSignal): Promise<void> {
    for (const [ordinal] of this.ancestors.entries()) await this.open(ordinal, signal);
  }

  /** How workers read the chain. Precondition: all ancestors are open. */
  reach(image: SourceReach): SourceReach {
    if (this.ancestors.length === 0) return image;
    const images = [image, ...this.#open.map((ancestor) => ancestor!.source.reach)];
    const starts = [0, ...this.#starts.slice(0, this.ancestors.length)];
    return { kind: 'chain', name: image.name, images, starts };
  }

  /** Throws INPUT_FAILED if the memory of an ancestor was written again. */
  assertIntact(): void {
    for (const ancestor of this.#open) ancestor?.source.assertIntact?.();
  }

  /** Closes all ancestors. Precondition: none is being opened. */
  async close(): Promise<void> {
    for (const ancestor of this.#open) await ancestor?.source.close();
  }

  async #read(ordinal: number, signal: AbortSignal | undefined): Promise<OpenAncestor> {
    const { id, from, head } = this.ancestors[ordinal]!;
    const source = await openSource(from);
    try {
      const read = await whileIntact(source, () => readRecords(source, this.#budget, signal));
      if (read.id !== id || source.bytes !== head.totalLen) throw differs(source, id, read.id);
      const opened = { source, records: read.records, start: this.#starts[ordinal]! };
      this.#open[ordinal] = opened;
      return opened;
    } catch (error) {
      await source.close().catch(() => {}); // `error` is what the caller needs to know
      throw error;
    }
  }
}

function differs(source: ByteSource, wanted: string, found: string): MmdumpError {
  const message = `${source.name}: it is image ${found}, expected image ${wanted}, the parent of another`;
  return new MmdumpError('IMAGE_PARENT_DIFFERS', message, { reason: wanted });
}
