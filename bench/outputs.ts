/** Where the dumps of a benchmark go. */
import { rmSync } from 'node:fs';
import { Writable } from 'node:stream';
import * as mmdump from 'mmdump';
import type { Fixtures } from './fixtures.ts';
import { settleDisk } from './programs.ts';

export type OutputKind = 'memory' | 'machine' | 'file' | 'split' | 'stream';

/** The names of the sinks in lines. */
export const SINKS: { readonly [kind in OutputKind]: string } = {
  memory: 'memory sink',
  machine: "memory sink in the machine's memory",
  file: 'file sink',
  split: 'split sink',
  stream: 'stream sink',
};

/** Provides a sink for each dump. It is made before the clock starts. */
export interface Output {
  readonly kind: OutputKind;
  /** The sink of the next dump. Every dump writes a fresh file, and begins with an idle disk. */
  next(): mmdump.Sink;
  /** Removes what a dump has written, after the clock has stopped. */
  remove(): void;
  release(): void;
}

/** `splitSink`, where this version of mmdump has it. */
type SplitSink = (path: string, options: { readonly parts: number }) => mmdump.Sink;
const { splitSink } = mmdump as unknown as { readonly splitSink?: SplitSink };

export const OUTPUTS: readonly OutputKind[] = [
  'memory',
  'machine',
  'file',
  ...(splitSink === undefined ? [] : (['split'] as const)),
  'stream',
];

/** The kind `machine` takes the machine of the address space that the fixtures made last. */
export function openOutput(kind: OutputKind, fixtures: Fixtures, workers: number): Output {
  switch (kind) {
    case 'memory':
    case 'machine': {
      const { machine } = fixtures;
      const isInside = kind === 'machine' && machine !== undefined;
      const sink = mmdump.memorySink(isInside ? { machine } : {});
      return { kind, next: () => sink, remove: () => {}, release: () => sink.release() };
    }
    case 'stream':
      return {
        kind,
        next: () => mmdump.streamSink(nowhere()),
        remove: () => {},
        release: () => {},
      };
    case 'file': {
      const path = fixtures.path('.cpt');
      const remove = (): void => rmSync(path, { force: true });
      return { kind, next: () => mmdump.fileSink(settled(path)), remove, release: remove };
    }
    case 'split': {
      const path = fixtures.path('.split');
      const parts = Math.max(2, workers);
      const remove = (): void => {
        for (let part = 0; part < parts; part++) {
          rmSync(`${path}.${String(part).padStart(3, '0')}`, { force: true });
        }
      };
      return { kind, next: () => splitSink!(settled(path), { parts }), remove, release: remove };
    }
  }
}

function settled(path: string): string {
  settleDisk();
  return path;
}

/** A stream that takes everything at once and keeps nothing, so that only the sink costs time. */
function nowhere(): Writable {
  return new Writable({
    highWaterMark: 8 * mmdump.MiB,
    write: (_chunk, _encoding, done) => done(),
  });
}
