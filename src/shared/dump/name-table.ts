/**
 * The NAME records of the files that the mms of a dump map, encoded by the coordinator before the
 * pass: every mapping of a file is followed by the same bytes.
 *
 *   INDEX | file 1 | file 2 | …     by the machine's file id: where in `records`, and how many bytes
 */
export const NAME_INDEX = {
  AT: 0, //    first byte in `records`, a multiple of 8
  BYTES: 1, // 0: no mm of the dump maps the file
  CRC: 2, //   record_crc
  WORDS: 4,
} as const;

const { AT, BYTES, CRC, WORDS } = NAME_INDEX;

/** Both tables as they travel. Immutable once the pass begins. */
export interface NameBuffers {
  readonly index: SharedArrayBuffer;
  readonly records: SharedArrayBuffer;
}

export function nameIndexBytes(highestFile: number): number {
  return (highestFile + 1) * WORDS * 4;
}

export class NameTable {
  readonly #index: Int32Array;
  /** The records as words: what a worker copies. */
  readonly words: Int32Array;

  constructor({ index, records }: NameBuffers) {
    this.#index = new Int32Array(index);
    this.words = new Int32Array(records);
  }

  set(file: number, at: number, bytes: number, crc: number): void {
    this.#index[file * WORDS + AT] = at;
    this.#index[file * WORDS + BYTES] = bytes;
    this.#index[file * WORDS + CRC] = crc;
  }

  at(file: number): number {
    return this.#index[file * WORDS + AT]!;
  }

  bytes(file: number): number {
    return this.#index[file * WORDS + BYTES]!;
  }

  crc(file: number): number {
    return this.#index[file * WORDS + CRC]!;
  }
}
