/** The sinks of the matrix, each with what it must look like after a dump that failed, or not. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { fileSink, MiB, memorySink, type Sink, streamSink } from 'mmdump';
import type { Lab } from './lab.ts';
import { NOTHING } from './matrix.ts';

/** An output of one dump. */
export interface Target {
  readonly sink: Sink;
  /** What a failed dump has left; removes it. */
  left(): string;
  /** The image of a dump that worked; removes it. */
  taken(): Buffer;
}

export type TargetKind = (lab: Lab) => Target;

const OLD = 'what was there before';

/** A file; with `force` it is there already. */
export function fileTarget(lab: Lab, folder: string, force: boolean): Target {
  const path = join(folder, 'image.cpt');
  if (force) writeFileSync(path, OLD);
  const isAsBefore = (): boolean => {
    const names = readdirSync(folder);
    if (!force) return names.length === 0;
    return names.length === 1 && names[0] === 'image.cpt' && readFileSync(path, 'utf8') === OLD;
  };
  const clear = (): void => {
    for (const name of readdirSync(folder)) rmSync(join(folder, name));
  };
  return {
    sink: fileSink(path, { force, faults: lab.plan }),
    left() {
      const left = isAsBefore() ? NOTHING : describe(folder, lab.image);
      clear();
      return left;
    },
    taken() {
      const bytes = readFileSync(path);
      const names = readdirSync(folder);
      if (names.length !== 1) throw new Error(`beside the image: ${names}`);
      clear();
      return bytes;
    },
  };
}

function describe(folder: string, image: Buffer): string {
  return readdirSync(folder)
    .map((name) => {
      if (name.endsWith('.tmp')) return 'the temporary file, which the message names';
      const isWhole = readFileSync(join(folder, name)).equals(image);
      return isWhole ? 'the new image, whole, as the message says' : `${name}, not whole`;
    })
    .join(', ');
}

const CHUNK_BYTES = MiB / 2;

export function memoryTarget(lab: Lab): Target {
  const sink = memorySink({ chunkBytes: CHUNK_BYTES, faults: lab.plan });
  return {
    sink,
    left() {
      try {
        return `an image of ${sink.image.bytes} bytes`;
      } catch {
        return NOTHING; // it holds no finished image
      }
    },
    taken() {
      const { bytes, chunks } = sink.image;
      const parts = chunks.map((chunk) => Buffer.from(chunk));
      return Buffer.concat(parts).subarray(0, bytes);
    },
  };
}

/** Keeps what it gets, and does something else with the n-th chunk. */
export class Collector extends Writable {
  readonly chunks: Buffer[] = [];
  #seen = 0;
  readonly #nth: number;
  readonly #instead: (stream: Collector, done: (error?: Error) => void) => void;

  constructor(
    nth = 0,
    instead: (stream: Collector, done: (error?: Error) => void) => void = () => {},
  ) {
    super({ highWaterMark: 1 });
    this.#nth = nth;
    this.#instead = instead;
    this.on('error', () => {}); // whoever made it may listen, too
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    if (++this.#seen === this.#nth) {
      this.#instead(this, done);
      return;
    }
    this.chunks.push(chunk);
    setImmediate(done);
  }
}

export function streamTarget(lab: Lab, stream: Collector = new Collector()): Target {
  const listeners = stream.listenerCount('close');
  return {
    sink: streamSink(stream, { name: 'the stream', faults: lab.plan }),
    left() {
      if (!stream.destroyed) return 'a stream that was not destroyed';
      if (stream.listenerCount('close') > listeners) return 'listeners';
      return NOTHING; // what it has taken is cut short, and its end never came
    },
    taken: () => Buffer.concat(stream.chunks),
  };
}

/** Every sink, by the name that the table has for it. */
export function everySink(lab: Lab): ReadonlyMap<string, TargetKind> {
  const kinds = new Map<string, TargetKind>();
  for (const [name, folder] of lab.folders) {
    kinds.set(name, () => fileTarget(lab, folder, false));
  }
  kinds.set('file, force', () => fileTarget(lab, lab.folder, true));
  kinds.set('memory', memoryTarget);
  kinds.set('stream', (one) => streamTarget(one));
  return kinds;
}
