/**
 * What the records of an OpenVZ 6 container file say, as far as it can be kept: address spaces,
 * the files that they map, and their tasks. Everything refers to other things by their positions
 * in the file. All of it counts against the budget of the index before it is kept.
 */
import type { MmFields } from '../../../shared/formats/cpt/encode-mm.ts';
import type { FileFields, InodeFields } from '../../../shared/formats/openvz/decode.ts';
import type { OpenvzVma } from '../../../shared/formats/openvz/decode-mm.ts';
import type { OpenvzTask } from '../../../shared/formats/openvz/decode-task.ts';
import type { BlockIndex } from '../index/block-index.ts';

/** A mapping, whose blocks are those from `firstBlock` to before `lastBlock` of its mm. */
export interface FoundVma extends OpenvzVma {
  readonly offset: number;
  readonly firstBlock: number;
  lastBlock: number;
}

/** An address space. A clone has the position of its donor as its source. */
export interface FoundMm {
  readonly offset: number;
  readonly fields: MmFields;
  readonly vmas: FoundVma[];
  readonly blocks: BlockIndex;
  /** With its end; null if there is none. */
  auxv: Uint8Array | null;
  ldt: Uint8Array | null;
}

/** An open file. */
export interface FoundFile extends FileFields {
  readonly offset: number;
  /** The bytes of its path; null until its NAME has come. */
  path: Uint8Array | null;
}

/** A file that only the container file has. Its blocks begin at pages of the file. */
export interface FoundInode extends InodeFields {
  readonly offset: number;
  readonly blocks: BlockIndex;
}

/** A thread. */
export interface FoundTask extends OpenvzTask {
  /** Struct user_regs_struct; null if the file does not tell. */
  registers: Uint8Array | null;
  /** FXSAVE area, 512 bytes; null if the file does not tell. */
  fpu: Uint8Array | null;
}

export interface Container {
  /** When it was stopped, in nanoseconds since 1970. */
  readonly time: bigint;
  readonly mms: readonly FoundMm[];
  /** By their positions, as are the inodes. */
  readonly files: ReadonlyMap<number, FoundFile>;
  readonly inodes: ReadonlyMap<number, FoundInode>;
  readonly tasks: readonly FoundTask[];
  readonly unread: Unread;
}

/** Most different things that are listed by name. */
const KINDS_MAX = 100;

/** What the file holds and this reader does not read, counted by kind. */
export class Unread {
  readonly #counts = new Map<string, { count: number; bytes: number }>();

  add(what: string, bytes: number): void {
    const known = this.#counts.get(what);
    const name = known === undefined && this.#counts.size === KINDS_MAX ? 'other things' : what;
    const counted = this.#counts.get(name) ?? { count: 0, bytes: 0 };
    counted.count++;
    counted.bytes += bytes;
    this.#counts.set(name, counted);
  }

  /** One line for each kind, in the order in which they came. */
  lines(): string[] {
    return [...this.#counts].map(([what, { count, bytes }]) => {
      return `${what}${count === 1 ? '' : `, ${count} times`}: ${bytes} bytes`;
    });
  }
}
