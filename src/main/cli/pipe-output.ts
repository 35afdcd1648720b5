/**
 * Writes into a named pipe. An ordinary open waits until a reader opens the pipe, and an ordinary
 * write waits until there is room, both in a thread that nothing can interrupt: the process could
 * not even end meanwhile. So this stream opens and writes without blocking, and tries again.
 */
import { constants, open } from 'node:fs';
import { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { errnoOf } from '../../shared/errors.ts';

const LOOK_AGAIN_MS = 10;
/** Opens without a FileHandle: the socket will own the descriptor. */
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

  /** Resolves once the pipe has a reader. */
  async #open(): Promise<void> {
    const { signal } = this.#over;
    for (;;) {
      try {
        const fd = await openNow(this.#path, WITHOUT_WAITING);
        this.#socket = new Socket({ fd, readable: false, writable: true });
        if (signal.aborted) this.#socket.destroy(); // _destroy ran before there was a socket
        this.#socket.on('error', (error) => this.destroy(error));
        return;
      } catch (error) {
        if (errnoOf(error) !== 'ENXIO') throw error; // ENXIO: there is no reader yet
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

/** A stream that writes into the named pipe at `path`, as soon as the pipe has a reader. */
export function pipeOutput(path: string): Writable {
  return new PipeOutput(path);
}
