/** The fields of one record: little-endian, zeros behind its end. */

import { crc32Words } from '../../digest/crc32.ts';
import { ImageProblem } from '../problem.ts';
import { MM_RECORD } from './records.ts';

/** Longest header that is read; no version needs more. */
export const MAX_HEADER = 4096;
/** No record of version 1 is longer. */
const LONGEST_RECORD = MM_RECORD.SIZE;

/** Reused from record to record: images have many. */
export class Fields {
  readonly #bytes = new Uint8Array(MAX_HEADER);
  readonly #words = new Int32Array(this.#bytes.buffer);
  readonly #view = new DataView(this.#bytes.buffer);
  #name = '';
  #offset = 0;
  #length = 0;

  /** Loads the whole header of a record that begins at byte `offset` of the image. */
  load(record: Uint8Array, offset: number, name: string): void {
    this.#bytes.set(record);
    if (record.length < LONGEST_RECORD) this.#bytes.fill(0, record.length, LONGEST_RECORD);
    this.#name = name;
    this.#offset = offset;
    this.#length = record.length;
  }

  /** `VMA at byte 208`, for messages. */
  get where(): string {
    return `${this.#name} at byte ${this.#offset}`;
  }

  u16(at: number): number {
    return this.#view.getUint16(at, true);
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true);
  }

  u64(at: number): bigint {
    return this.#view.getBigUint64(at, true);
  }

  /** A u64 that is an address or counts bytes or pages: below 2^53, or it is nonsense. */
  number(at: number, name: string): number {
    const high = this.#view.getUint32(at + 4, true);
    if (high < 0x20_0000) return high * 0x1_0000_0000 + this.#view.getUint32(at, true);
    throw this.problem(`${name} 0x${this.u64(at).toString(16)} is out of range`);
  }

  /** Checks record_crc, which stands at `at`, over the whole header with that field zero. */
  assertChecksum(at: number): void {
    const stored = this.u32(at);
    this.#view.setUint32(at, 0, true);
    const computed = crc32Words(this.#words, 0, this.#length / 4);
    this.#view.setUint32(at, stored, true);
    if (stored === computed) return;
    throw new ImageProblem(
      'IMAGE_CHECKSUM',
      this.#offset,
      `${this.where}: record_crc is 0x${stored.toString(16)}, its bytes give 0x${computed.toString(16)}`,
    );
  }

  problem(message: string, address: number | null = null): ImageProblem {
    return new ImageProblem('IMAGE_CORRUPT', this.#offset, `${this.where}: ${message}`, address);
  }
}
