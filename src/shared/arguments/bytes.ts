/**
 * Buffers that callers pass. Any view of memory stands for its bytes, whatever its element type is.
 * A bare ArrayBuffer or SharedArrayBuffer is refused, as Node's own file functions do.
 */
import { isInstance } from './checks.ts';
import { refusal } from './refuse.ts';

const EXPECTED = 'a view of memory (Uint8Array, Buffer, DataView or another typed array)';

/**
 * The bytes of a view: the same memory, never a copy. A Uint8Array that is not empty is returned as
 * it is. OPTION_INVALID if `value` is no view, or if its memory was transferred to another thread.
 */
export function bytesOf(what: string, value: unknown): Uint8Array {
  if (ArrayBuffer.isView(value) && value instanceof Uint8Array && value.length > 0) return value;
  if (!ArrayBuffer.isView(value)) {
    const isBuffer = isInstance(value, ArrayBuffer) || isInstance(value, SharedArrayBuffer);
    throw refusal(
      what,
      value,
      isBuffer ? `${EXPECTED}: new Uint8Array(buffer) makes one` : EXPECTED,
    );
  }
  try {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  } catch {
    // A view whose memory was transferred is empty. It must not be taken for a request of 0 bytes.
    throw refusal(what, value, `${EXPECTED} whose memory is still there: it was transferred`);
  }
}
