/** The sinks of the matrix, each with what must be there after a dump that failed or succeeded. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { fileSink, MiB, memorySink, type Sink, splitSink, streamSink } from 'mmdump';
import type { Lab } from './lab.ts';
import { NOTHING } from './matrix.ts';

/** An output of one dump. */
export interface Destination {
  readonly sink: Sink;
  /** Returns what a failed dump has left, and removes it. */
  left(): string;
  /** Returns the image of a dump that succeeded, and removes it. */
  taken(): Buffer;
}

export type DestinationKind = (lab: Lab) => Destination;

const OLD = 'what was there before';

/** A file. With `force` it already exists. */
export function fileDestination(lab: Lab, folder: string, force: boolean): Destination {
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

/**
 * Number of parts of the new image. The old one has more, and there is a single file of that name
 * too.
 */
export const PARTS = 3;
const OLD_NAMES = ['image.cpt', ...[0, 1, 2, 3, 4].map((part) => `image.cpt.00${part}`)];
export const OLD_FILES: number = OLD_NAMES.length;

/** An image in parts. With `force` there is an older one already. */
export function splitDestination(lab: Lab, force: boolean): Destination {
  const { folder } = lab;
  const path = join(folder, 'image.cpt');
  if (force) for (const name of OLD_NAMES) writeFileSync(join(folder, name), OLD + name);
  const contentOf = (name: string): string => readFileSync(join(folder, name), 'utf8');
  const isAsBefore = (): boolean => {
    const names = readdirSync(folder).sort();
    if (!force) return names.length === 0;
    return (
      names.join() === OLD_NAMES.join() && names.every((name) => contentOf(name) === OLD + name)
    );
  };
  const newParts = (): Buffer[] =>
    Array.from({ length: PARTS }, (_, part) => readFileSync(`${path}.00${part}`));
  const clear = (): void => {
    for (const name of readdirSync(folder)) rmSync(join(folder, name));
  };
  const describeLeft = (): string => {
    const names = readdirSync(folder).sort();
    const isOld = (name: string): boolean => contentOf(name) === OLD + OLD_NAMES.find(endOf(name));
    const asides = names.filter((name) => name.endsWith('.tmp'));
    const others = names.filter((name) => !asides.includes(name));
    if (asides.length !== 1 || !asides.every(isOld)) return names.join(', ');
    const aside = 'an old part under another name, which the message names';
    if (others.every(isOld)) return aside;
    const isWhole = others.length === PARTS && Buffer.concat(newParts()).equals(lab.image);
    return isWhole ? `the new image, whole; ${aside}` : names.join(', ');
  };
  return {
    sink: splitSink(path, { parts: PARTS, force, faults: lab.plan }),
    left() {
      const left = isAsBefore() ? NOTHING : describeLeft();
      clear();
      return left;
    },
    taken() {
      const parts = newParts();
      const names = readdirSync(folder);
      if (names.length !== PARTS) throw new Error(`beside the image: ${names}`);
      clear();
      return Buffer.concat(parts);
    },
  };
}

/** Matches the old file that now has this name: `.mmdump-….old.003.tmp` was `image.cpt.003`. */
function endOf(name: string): (old: string) => boolean {
  const suffix = /\.old(.*)\.tmp$/.exec(name)?.[1];
  return (old) => old === (suffix === undefined ? name : `image.cpt${suffix}`);
}

const CHUNK_BYTES = MiB / 2;

export function memoryDestination(lab: Lab): Destination {
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

/** Keeps what it gets, and does something else with chunk n. */
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
    this.on('error', () => {}); // its creator may listen, too
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

export function streamDestination(lab: Lab, stream: Collector = new Collector()): Destination {
  const listeners = stream.listenerCount('close');
  return {
    sink: streamSink(stream, { name: 'the stream', faults: lab.plan }),
    left() {
      if (!stream.destroyed) return 'a stream that was not destroyed';
      if (stream.listenerCount('close') > listeners) return 'listeners';
      return NOTHING; // the stream's bytes are cut short and it never ended, so they are no image
    },
    taken: () => Buffer.concat(stream.chunks),
  };
}

/** Every sink, by its name in the table. */
export function everySink(lab: Lab): ReadonlyMap<string, DestinationKind> {
  const kinds = new Map<string, DestinationKind>();
  for (const [name, folder] of lab.folders) {
    kinds.set(name, () => fileDestination(lab, folder, false));
  }
  kinds.set('file, force', () => fileDestination(lab, lab.folder, true));
  kinds.set('memory', memoryDestination);
  kinds.set('stream', (one) => streamDestination(one));
  return kinds;
}

/**
 * Sinks of an image in parts. They take the same steps as a file sink, and have rows of their own.
 */
export function splitSinks(): ReadonlyMap<string, DestinationKind> {
  return new Map<string, DestinationKind>([
    ['split', (one) => splitDestination(one, false)],
    ['split, force', (one) => splitDestination(one, true)],
  ]);
}
