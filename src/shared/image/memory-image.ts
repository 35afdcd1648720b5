/** Images in shared memory. */

/** All bytes of a chunk: a buffer of its own, or a part of a machine's memory. */
export function viewOfChunk(chunk: SharedArrayBuffer | Uint8Array): Uint8Array {
  return chunk instanceof Uint8Array ? chunk : new Uint8Array(chunk);
}
