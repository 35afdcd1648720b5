/** What the main thread of the stress of snapshots does, one thing after the other. */
import {
  type AddressSpace,
  createTlb,
  type Dumper,
  memorySink,
  openImage,
  PAGE_SIZE,
  type Snapshot,
} from 'mmdump';
import { expect } from 'vitest';
import { assertInstant, type Counts } from './counted.ts';
import { Random } from './random.mjs';
import { countsBy, insist, linksOf, type SnapshotRun, WORD } from './snapshot-run.ts';

/** Snapshots that are kept at a time. */
const KEPT = 3;

interface Kept {
  readonly snapshot: Snapshot;
  counts: Counts | undefined;
  readonly least: readonly number[];
  readonly most: readonly number[];
}

/** The operations, and what they know of the snapshots that are kept. */
export class Operations {
  readonly #run: SnapshotRun;
  readonly #dumper: Dumper;
  readonly #random: Random;
  readonly #kept: Kept[] = [];
  /** A TLB of the main thread, filled before a rewind. */
  readonly #tlb;
  #seen: Counts | undefined;
  readonly did: Record<string, number> = {};
  /** Words that had changed and were listed as dirty, and rewinds that were checked. */
  compared = 0;
  rewound = 0;

  constructor(run: SnapshotRun, dumper: Dumper, seed: number) {
    this.#run = run;
    this.#dumper = dumper;
    this.#random = new Random(seed);
    this.#tlb = createTlb(run.space);
  }

  async step(): Promise<void> {
    const name = this.#random.pick([
      ...['take', 'take', 'dump', 'dump', 'fork', 'frozen', 'rewind', 'rewind', 'rewind'],
      ...['dirty', 'dirty', 'reclaim', 'merge', 'drop'],
    ] as const);
    this.did[name] = (this.did[name] ?? 0) + 1;
    await this[name]();
  }

  async take(): Promise<void> {
    if (this.#kept.length === KEPT) await this.drop();
    const least = this.#run.published(1);
    const snapshot = await insist(() =>
      this.#run.machine.snapshotAsync({ spaces: [this.#run.space] }),
    );
    this.#kept.push({ snapshot, counts: undefined, least, most: this.#run.published(0) });
  }

  #pick(): Kept | undefined {
    return this.#kept[this.#random.below(Math.max(1, this.#kept.length))];
  }

  async #countsOf(of: AddressSpace | Snapshot, options: object = {}): Promise<Counts> {
    const sink = memorySink();
    await insist(() => this.#dumper.dump(of, { ...options, to: sink }));
    expect((await this.#dumper.verify(sink.image)).problems).toEqual([]);
    const image = await openImage(sink.image);
    return countsBy((at, into) => image.read(at, into));
  }

  async #check(kept: Kept, counts: Counts): Promise<void> {
    if (kept.counts === undefined) assertInstant('snapshot', counts, kept.least, kept.most);
    else expect(counts).toEqual(kept.counts);
    kept.counts = counts;
  }

  async dump(): Promise<void> {
    const kept = this.#pick();
    if (kept !== undefined) await this.#check(kept, await this.#countsOf(kept.snapshot));
  }

  async fork(): Promise<void> {
    const least = this.#run.published(1);
    const counts = await this.#countsOf(this.#run.space, { pause: 'fork' });
    assertInstant('pause fork', counts, least, this.#run.published(0));
  }

  async frozen(): Promise<void> {
    const least = this.#run.published(1);
    const counts = await this.#countsOf(this.#run.space);
    assertInstant('frozen', counts, least, this.#run.published(0));
  }

  async rewind(): Promise<void> {
    const kept = this.#pick();
    if (kept === undefined) return;
    await this.#run.paused(async () => {
      const byTlb = (): Promise<Counts> =>
        countsBy((at) => {
          WORD[0] = this.#tlb.load32(at);
        });
      await insist(byTlb);
      await insist(() => kept.snapshot.rewindAsync());
      const counts = await insist(byTlb);
      await this.#check(kept, counts);
      this.rewound++;
      const { space } = this.#run;
      expect(await insist(() => countsBy((at, into) => space.readAsync(at, into)))).toEqual(counts);
      this.#seen = undefined;
      // The threads count on from what they have published: the images show no count between.
      await this.#storeCounts(this.#run.published(1));
    });
  }

  async #storeCounts(counts: readonly number[]): Promise<void> {
    for (const [thread, count] of counts.entries()) {
      for (const link of linksOf(thread)) {
        await insist(async () => this.#tlb.store32(link, count));
      }
    }
  }

  async dirty(): Promise<void> {
    const { space } = this.#run;
    await this.#run.paused(async () => {
      const ranges = await space.dirty.takeAsync();
      const counts = await insist(() => countsBy((at, into) => space.readAsync(at, into)));
      for (const [thread, links] of counts.entries()) {
        for (const [link, count] of links.entries()) {
          const at = linksOf(thread)[link]!;
          const isListed = ranges.some(({ start, end }) => start <= at && at < end);
          if (this.#seen !== undefined && this.#seen[thread]![link] !== count) {
            expect(isListed, `${at} has changed`).toBe(true);
            this.compared++;
          }
        }
      }
      this.#seen = counts;
    });
  }

  async reclaim(): Promise<void> {
    await this.#run.machine.reclaimAsync(this.#random.below(200) * PAGE_SIZE);
  }

  async merge(): Promise<void> {
    await this.#run.machine.mergePagesAsync();
  }

  async drop(): Promise<void> {
    const at = this.#random.below(Math.max(1, this.#kept.length));
    for (const { snapshot } of this.#kept.splice(at, 1)) await snapshot.dropAsync();
  }

  async end(): Promise<void> {
    while (this.#kept.length > 0) await this.drop();
  }
}
