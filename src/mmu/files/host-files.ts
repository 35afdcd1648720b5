/**
 * The host files that a thread has open. A page of a file with BACKING = HOST is read from there.
 */
import { closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';

/** The most host files that a thread keeps open. */
const OPEN_FILES_MAX = 128;

/**
 * The host files that this thread has open, by path. When there are too many, the one that was
 * opened first is closed.
 */
export class HostFiles {
  readonly #descriptors = new Map<string, number>();

  /**
   * Descriptor of a file, which is opened if need be. Throws when it is no readable regular file.
   */
  descriptor(path: Uint8Array): number {
    const raw = Buffer.from(path);
    const key = raw.toString('latin1');
    const open = this.#descriptors.get(key);
    if (open !== undefined) return open;
    const descriptor = openRegular(raw);
    if (this.#descriptors.size >= OPEN_FILES_MAX) this.#closeOldest();
    this.#descriptors.set(key, descriptor);
    return descriptor;
  }

  /** Closes all files. */
  close(): void {
    for (const descriptor of this.#descriptors.values()) closeSync(descriptor);
    this.#descriptors.clear();
  }

  #closeOldest(): void {
    for (const [key, descriptor] of this.#descriptors) {
      this.#descriptors.delete(key);
      closeSync(descriptor);
      return;
    }
  }
}

/**
 * Opens a regular file for reading. Paths also come from images, which are not to be trusted:
 * opening a pipe would wait for a writer, and opening a device may do anything. So the type of the
 * file is checked before it is opened, and again afterwards.
 */
function openRegular(path: Buffer): number {
  if (!statSync(path).isFile()) throw new Error('it is not a regular file');
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw new Error('it is not a regular file');
}
