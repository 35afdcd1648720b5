/** 64-bit fields of ELF files as plain numbers. */

const HIGH = 2 ** 32;

/**
 * A u64. Numbers of 2^53 and more are rounded: no place or address that a reader accepts is as
 * large, so every bound refuses the rounded number as it would refuse the exact one.
 */
export function u64At(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * HIGH;
}

/** Writes a u64 below 2^53. */
export function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % HIGH, true);
  view.setUint32(at + 4, Math.floor(value / HIGH), true);
}

/** The view of these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
