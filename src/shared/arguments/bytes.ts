/**
 * Buffers that callers give. Any view of memory means its bytes, whatever its elements are; a bare
 * ArrayBuffer or SharedArrayBuffer is refused, as by Node's own file functions.
 */
import { isInstance } from './checks.ts';
import { refusal } from './refuse.ts';

const EXPECTED = 'a view of memory (Uint8Array, Buffer, DataView or another typed array)';

/**
 * The bytes of a view: the very same memory, never a copy. A Uint8Array with something in it comes
 * back as it is.
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
    // Its memory went to another thread: such a view is empty, and would pass for no bytes at all.
    throw refusal(what, value, `${EXPECTED} whose memory is still there: it was transferred`);
  }
}
