/** State that an image holds beside memory: bytes under names. */

/** A state of an image, and its place. `Image.readState` reads it. */
export interface ImageState {
  /** Its name. */
  readonly name: string;
  /** Byte of the image at which it begins. */
  readonly offset: number;
  /** Its length, in bytes. */
  readonly bytes: number;
  /** crc32 of its bytes and of the zeros that follow them, up to a multiple of 8. */
  readonly crc: number;
}

/** What another format loses of a state, for messages. */
export function lostStateText(name: string, bytes: number): string {
  return `not kept: ${stateText(name)}, ${bytes} ${bytes === 1 ? 'byte' : 'bytes'}`;
}

/** The name for messages. It comes from the image: it must not control a terminal. */
export function stateText(name: string): string {
  return `state '${name.replace(/\p{Cc}/gu, '?')}'`;
}
