/** Checks the STATE objects of an image against each other, and lists them. */
import { pad8 } from '../../../shared/formats/cpt/encode-mm.ts';
import type { StateObject } from '../../../shared/formats/cpt/objects.ts';
import { STATE_MAX_BYTES, STATES_MAX } from '../../../shared/formats/cpt/records.ts';
import type { ImageState } from '../index/image-state.ts';
import { INDEX_COST, type IndexBudget } from '../index/index-budget.ts';
import { wrong } from './blocks.ts';

export class ImageStates {
  readonly listed: ImageState[] = [];
  readonly #budget: IndexBudget;
  #last: Buffer | undefined;
  #bytes = 0;

  constructor(budget: IndexBudget) {
    this.#budget = budget;
  }

  /** Takes the next one. `payload` is its name with padding, which matches its checksum. */
  take(object: StateObject, payload: Uint8Array): void {
    const { offset, headerLength, nameBytes, bytes, payloadCrc: crc } = object;
    const utf8 = Buffer.from(payload.subarray(0, nameBytes));
    const name = utf8.toString();
    if (!Buffer.from(name).equals(utf8)) throw wrong(object, 'its name is not UTF-8');
    if (payload.subarray(nameBytes).some((byte) => byte !== 0)) {
      throw wrong(object, 'the bytes behind its name are not zero');
    }
    if (this.#last !== undefined && Buffer.compare(this.#last, utf8) >= 0) {
      throw wrong(object, 'its name does not come after that of the state before it');
    }
    if (this.listed.length === STATES_MAX) throw wrong(object, `more than ${STATES_MAX} states`);
    if (this.#bytes + bytes > STATE_MAX_BYTES) {
      throw wrong(object, `more than ${STATE_MAX_BYTES} bytes of state`);
    }
    this.#budget.take(INDEX_COST.FILE);
    this.#last = utf8;
    this.#bytes += bytes;
    this.listed.push({ name, offset: offset + headerLength + pad8(nameBytes), bytes, crc });
  }
}
