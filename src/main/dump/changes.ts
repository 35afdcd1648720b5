/**
 * Which pages may have changed since the parent image, by dirty bits, and the beginning of a new
 * period for the image that is being dumped. docs/decisions/chains.md says why this is right.
 *
 *   instant of the parent                      instant of this image
 *   bits cleared, pages read ─── stores set bits ─── bits read (with `track` cleared), pages read
 *
 * The bits tell of this period only if nobody has cleared them since: the instant of the mm is still
 * the one that was remembered with the parent. Otherwise all pages are compared. Whoever clears and
 * reads bits holds the mmap lock for writing. The pages of an instant are read after that, and
 * before any operation of the machine runs.
 */
import { dirtyInstant, dirtySince, takeSince } from '../../mmu/calls/dirty.ts';
import type { MmReference } from '../../mmu/machine/enter.ts';
import { lockMmAsync } from '../../mmu/mm/hold.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { type DirtyRanges, joinRanges } from '../../shared/dump/dirty-ranges.ts';
import { MmdumpError } from '../../shared/errors.ts';
import type { ResolvedOptions } from './options.ts';
import type { TrackedImages, TrackedMm } from './tracked-images.ts';

/** How a dump finds what has changed since its parent. */
export type ChangesFound = 'dirty' | 'digests';

/** What one dump knows of changes. */
export class Changes {
  /** Whether pages become clean at the instant of the image. */
  readonly tracks: boolean;
  readonly #choice: ChangesFound | 'auto';
  readonly #images: TrackedImages;
  readonly #hasParent: boolean;
  /** The mms of the parent by ordinal, if it is of use and was tracked. */
  readonly #parent: readonly TrackedMm[] | undefined;
  readonly #found: (DirtyRanges | undefined)[] = [];
  /** The mms of this image, with `tracks`. */
  readonly #mms: TrackedMm[] = [];
  #isNoted = false;

  constructor(images: TrackedImages, options: ResolvedOptions) {
    const { parent, changes, track, detectZero } = options;
    this.tracks = track;
    this.#choice = changes;
    this.#images = images;
    this.#hasParent = parent !== undefined;
    // A page of zeros has a clean leaf also where other bytes were dropped. It is found by its class,
    // but not if zeros are copied.
    const mayUseBits = changes !== 'digests' && detectZero;
    this.#parent = parent && mayUseBits ? images.get(parent.id) : undefined;
  }

  /**
   * Begins a new period in each mm, with the mmap lock for writing. The machine is frozen, and stays
   * frozen until the pages were read. Throws OPTION_INVALID as `assertKnown` does, before anything
   * is cleared, MM_GONE and AbortError.
   */
  async takeFrozen(
    mms: readonly Mm[],
    references: readonly MmReference[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    this.#assertKnown(mms);
    for (const [ordinal, mm] of mms.entries()) {
      await lockMmAsync(mm, references[ordinal]!, 'write', () => this.#take(mm, ordinal), signal);
    }
    this.#isNoted = true;
  }

  /**
   * Notes the changes of mms whose mmap locks are held for writing until their clones are made, and
   * begins a new period with `tracks`. If that fails and is tried again, this is called again.
   */
  noteHeld(mms: readonly Mm[]): void {
    if (!this.#isNoted) this.#assertKnown(mms);
    this.#isNoted = true;
    for (const [ordinal, mm] of mms.entries()) {
      if (this.tracks) this.#take(mm, ordinal);
      else this.#look(mm, ordinal);
    }
    // Somebody may have taken dirty pages between two attempts.
    if (this.#choice === 'dirty' && this.#hasParent && this.ranges === undefined) throw unknown(0);
  }

  /** Notes the changes of mms that are held for reading on a frozen machine, unless it was done. */
  noteFrozen(mms: readonly Mm[]): void {
    if (this.#isNoted) return;
    this.#assertKnown(mms);
    this.#isNoted = true;
    for (const [ordinal, mm] of mms.entries()) this.#look(mm, ordinal);
  }

  /**
   * The pages of each mm that may have changed. Undefined if all pages have to be compared. An mm
   * that the parent does not have has no ranges.
   */
  get ranges(): readonly (DirtyRanges | undefined)[] | undefined {
    const parent = this.#parent;
    if (parent === undefined || !this.#isNoted) return undefined;
    const isKnown = this.#found.every((found, ordinal) => found || ordinal >= parent.length);
    return isKnown ? this.#found : undefined;
  }

  /** How changes were found: null if the image has no parent. */
  get found(): ChangesFound | null {
    if (!this.#hasParent) return null;
    return this.ranges === undefined ? 'digests' : 'dirty';
  }

  /** Remembers that the mms were tracked from the instant of the image `id` on. */
  remember(id: string): void {
    if (this.tracks) this.#images.remember(id, this.#mms);
  }

  /** Throws OPTION_INVALID if the option `changes` is 'dirty' and nobody knows what has changed. */
  #assertKnown(mms: readonly Mm[]): void {
    const parent = this.#parent;
    if (this.#choice !== 'dirty' || !this.#hasParent) return;
    const lacks = mms.findIndex((mm, ordinal) => {
      const isNew = parent !== undefined && ordinal >= parent.length;
      return !isNew && this.#since(mm, ordinal) !== dirtyInstant(mm);
    });
    if (lacks < 0) return;
    throw unknown(lacks);
  }

  /** The instant of the mm that was remembered with the parent. */
  #since(mm: Mm, ordinal: number): number | undefined {
    const known = this.#parent?.[ordinal];
    const isSame =
      known?.slot === mm.slot &&
      known.generation === mm.struct.generation &&
      known.machine === mm.machine.id;
    return isSame ? known.instant : undefined;
  }

  #look(mm: Mm, ordinal: number): void {
    const since = this.#since(mm, ordinal);
    this.#found[ordinal] = since === undefined ? undefined : dirtySince(mm, since);
  }

  #take(mm: Mm, ordinal: number): void {
    const earlier = this.#mms[ordinal]; // an attempt that did not come to a clone
    const before = this.#found[ordinal];
    const since = earlier === undefined ? this.#since(mm, ordinal) : earlier.instant;
    const pages = takeSince(mm, since);
    this.#found[ordinal] =
      earlier === undefined ? pages : before && pages && joinRanges(before, pages);
    const { slot, struct, machine } = mm;
    const { generation } = struct;
    this.#mms[ordinal] = { machine: machine.id, slot, generation, instant: dirtyInstant(mm) };
  }
}

function unknown(mm: number): MmdumpError {
  const message =
    `changes: dirty bits do not tell what has changed in mm ${mm} since its parent image: ` +
    'dump the parent with track: true by this dumper, with the mms in the same order, and do ' +
    "not take dirty pages in between; or use 'auto'";
  return new MmdumpError('OPTION_INVALID', message, { mm });
}
