/**
 * The digests of pages that an image with a parent needs: those of its blocks that lie in the
 * parent, and one for every page that it holds, for the dump that will take it as a parent.
 */

import { PageListDigest } from '../../shared/digest/page-list-digest.ts';
import { PageDigestTable } from '../../shared/dump/page-digests.ts';
import type { ParentTask } from '../../shared/dump/tasks/pass-task.ts';
import type { WorkUnits } from '../../shared/dump/work-unit.ts';
import { PAGE_SIZE } from '../../shared/page.ts';
import type { WasmModule } from '../../shared/wasm.ts';
import type { ImageWindow } from '../copy/image-window.ts';
import type { PageMover } from '../copy/page-mover.ts';

/** Digests the blocks of one unit after the other. */
export class ParentDigests {
  /** The halves of the digest of the block that `block` was last called for. */
  low = 0;
  high = 0;
  readonly #table: PageDigestTable;
  readonly #list: PageListDigest;
  /** Two words for each page of all units. Undefined if the digests are not kept. */
  readonly #kept: Int32Array | undefined;
  #mm = 0;
  #start = 0;
  #first = 0;

  /** `module` is the module xxh3-inside. */
  constructor({ pages, kept }: ParentTask, module: WasmModule) {
    this.#table = new PageDigestTable(pages);
    this.#list = new PageListDigest(() => module);
    this.#kept = kept && new Int32Array(kept);
  }

  /** Begins a unit. */
  begin(units: WorkUnits, unit: number): void {
    this.#mm = units.mm(unit);
    this.#start = units.start(unit);
    this.#first = units.first(unit);
  }

  /** Computes the digest of a block of `count` pages from page `vpn` on that lies in the parent. */
  block(vpn: number, count: number): void {
    const { words } = this.#table;
    const list = this.#list;
    const from = this.#table.numberOf(this.#mm, vpn) * 2;
    list.begin();
    for (let at = from; at < from + count * 2; at += 2) list.add(words[at]!, words[at + 1]!);
    list.finish();
    this.low = list.low;
    this.high = list.high;
    this.#kept?.set(words.subarray(from, from + count * 2), this.#keptAt(vpn));
  }

  /**
   * Keeps the digests of `count` pages from page `vpn` on, whose bytes have arrived at byte `at` of
   * a window. They are digested there, because other bytes may lie in the frames by now.
   */
  stored(vpn: number, count: number, mover: PageMover, window: ImageWindow, at: number): void {
    const kept = this.#kept;
    if (kept === undefined) return;
    const to = this.#keptAt(vpn);
    for (let page = 0; page < count; page++) {
      mover.digestPage(window, at + page * PAGE_SIZE);
      kept[to + page * 2] = mover.pageLow;
      kept[to + page * 2 + 1] = mover.pageHigh;
    }
  }

  #keptAt(vpn: number): number {
    return (this.#first + vpn - this.#start) * 2;
  }
}
