/**
 * Writing into a named pipe. An ordinary open of one waits for a reader, and an ordinary write for
 * room, in a thread that nothing can interrupt: not even the process could end meanwhile. Here both
 * are tried without waiting, and tried again.
 */
import { constants, open } from 'node:fs';
import { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { errnoOf } from '../../shared/errors.ts';

const LOOK_AGAIN_MS = 10;
/** A bare descriptor, since a socket will own it. It does not wait. */
const openNow = promisify<string, number, number>(open);
const WITHOUT_WAITING = constants.O_WRONLY | constants.O_NONBLOCK;

type Done = (error?: Error | null) => void;

class PipeOutput extends Writable {
  readonly #path: string;
  readonly #over = new AbortController();
  #socket: Socket | undefined;

  constructor(path: string) {
    super();
    this.#path = path;
  }

  override _construct(done: Done): void {
    this.#open().then(
      () => done(),
      (error: Error) => done(error),
    );
  }

  /** Resolves once somebody reads. */
  async #open(): Promise<void> {
    const { signal } = this.#over;
    for (;;) {
      try {
        const fd = await openNow(this.#path, WITHOUT_WAITING);
        this.#socket = new Socket({ fd, readable: false, writable: true });
        if (signal.aborted) this.#socket.destroy(); // nobody else would
        this.#socket.on('error', (error) => this.destroy(error));
        return;
      } catch (error) {
        if (errnoOf(error) !== 'ENXIO') throw error; // ENXIO: nobody reads yet
      }
      await sleep(LOOK_AGAIN_MS, undefined, { signal });
    }
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: Done): void {
    this.#socket!.write(chunk, done);
  }

  override _final(done: Done): void {
    const socket = this.#socket!;
    socket.end();
    finished(socket, { readable: false }).then(() => done(), done);
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#over.abort();
    this.#socket?.destroy();
    done(error);
  }
}

/** Writes into the named pipe at `path`, as soon as somebody reads it. */
export function pipeOutput(path: string): Writable {
  return new PipeOutput(path);
}
