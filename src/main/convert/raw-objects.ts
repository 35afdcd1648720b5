/** Walks over the objects of an image that was opened, without a look at the pages between them. */
import { decodeObject } from '../../shared/formats/cpt/decode-object.ts';
import { Fields, MAX_HEADER } from '../../shared/formats/cpt/fields.ts';
import type { CptObject } from '../../shared/formats/cpt/objects.ts';
import type { ImageContents } from '../image/read/image-contents.ts';

/** Bytes that are read at a time. */
const WINDOW_BYTES = 0x4000;

/**
 * The objects of an image, in order. Throws an ImageProblem or INPUT_FAILED if the image was changed
 * since it was opened.
 */
export async function* objectsOf({ source, head }: ImageContents): AsyncGenerator<CptObject> {
  const fields = new Fields();
  const window = new Uint8Array(Math.max(WINDOW_BYTES, 2 * MAX_HEADER));
  let start = 0;
  let length = 0;
  for (let at = head.bytes; at < source.bytes; ) {
    const wanted = Math.min(MAX_HEADER, source.bytes - at);
    if (at < start || at + wanted > start + length) {
      start = at;
      length = Math.min(window.length, source.bytes - at);
      await source.read(window.subarray(0, length), at);
    }
    const bytes = window.subarray(at - start, at - start + wanted);
    const object = decodeObject(head.version, fields, bytes, at, source.bytes - at);
    yield object;
    at += object.length;
  }
}
