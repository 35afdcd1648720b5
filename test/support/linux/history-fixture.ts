/** A simulated machine with the files of histories, reused for one history after another. */
import type { AddressSpace } from '../../../src/mmu/machine/address-space.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { PAGE_SIZE } from '../../../src/shared/page.ts';
import { BackingFile } from '../machine/backed.ts';
import { freeFrames, testMachine } from '../machine/machine.ts';
import { fileContent, MAX_PROCESSES, type Plan } from './history.ts';

export class HistoryFixture {
  readonly machine: Machine;
  readonly fileIds: number[] = [];
  /** Index of a file, by the path that its mapping shows. */
  readonly indexes = new Map<string, number>();
  #hiding: BackingFile | undefined;
  readonly #contents: Uint8Array[];
  readonly #places: number[] = [];
  /** Maps every file so that its pages stay in the page cache, like those of files just written. */
  readonly #keeper: AddressSpace;

  constructor(files: Plan['files'], memory: number, zeroPage: boolean) {
    this.machine = testMachine({ memory, zeroPage, maxAddressSpaces: MAX_PROCESSES + 1 });
    this.#keeper = this.machine.createAddressSpace();
    this.#contents = files.map((spec, k) => fileContent(k, spec));
    for (const [k, { kind }] of files.entries()) {
      const path = `/file${k}`;
      const content = this.#contents[k]!;
      const { length } = content;
      const file = this.machine.createFile(
        kind === 'disk' ? { path, content } : { path, memoryBacked: { size: length } },
      );
      const request = { length, prot: 'rw', flags: ['shared'], file: file.id } as const;
      this.#places.push(this.#keeper.mmap(request));
      this.fileIds.push(file.id);
      this.indexes.set(path, k);
    }
  }

  /** Sets the files to the content that every history begins with. */
  reset(): void {
    const rest = new Uint8Array(PAGE_SIZE);
    for (const [k, content] of this.#contents.entries()) {
      this.#keeper.write(this.#places[k]!, content);
      const tail = content.length % PAGE_SIZE;
      // A mapping can also write past the end of the file, within the last page.
      if (tail === 0) continue;
      this.#keeper.write(this.#places[k]! + content.length, rest.subarray(tail));
    }
  }

  /** Ends all processes; throws if they leave anything behind. */
  clear(before: number): void {
    for (const space of this.machine.addressSpaces()) {
      if (space.mm.slot !== this.#keeper.mm.slot) this.machine.destroyAddressSpace(space);
    }
    const lost = before - freeFrames(this.machine);
    // The huge zero page is created once, and stays.
    if (lost !== 0 && lost !== 512) throw new Error(`the history has lost ${lost} frames`);
  }

  /** Where pages of processes can lie instead of in memory. */
  get hiding(): BackingFile {
    this.#hiding ??= new BackingFile(this.machine, new Uint8Array(0));
    return this.#hiding;
  }

  close(): void {
    this.#hiding?.close();
    this.machine.close();
  }
}
