/** Where the dumps of a benchmark go. */
import { rmSync } from 'node:fs';
import { Writable } from 'node:stream';
import * as mmdump from 'mmdump';
import { settleDisk } from './programs.ts';
import type { Stage } from './stage.ts';

export type OutputKind = 'memory' | 'machine' | 'file' | 'split' | 'stream';

/** What lines call a sink. */
export const SINKS: { readonly [kind in OutputKind]: string } = {
  memory: 'memory sink',
  machine: "memory sink in the machine's memory",
  file: 'file sink',
  split: 'split sink',
  stream: 'stream sink',
};

/** A sink for each dump, made before its time is taken. */
export interface Output {
  readonly kind: OutputKind;
  /** Every dump writes a fresh file, on a disk that has nothing else to do. */
  next(): mmdump.Sink;
  /** Removes what a dump has written, its time taken. */
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

/** `machine`: of the address space that the stage made last. */
export function openOutput(kind: OutputKind, stage: Stage, workers: number): Output {
  switch (kind) {
    case 'memory':
    case 'machine': {
      const { machine } = stage;
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
      const path = stage.path('.cpt');
      const remove = (): void => rmSync(path, { force: true });
      return { kind, next: () => mmdump.fileSink(settled(path)), remove, release: remove };
    }
    case 'split': {
      const path = stage.path('.split');
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

/** A stream that takes everything at once and keeps nothing: what is left is the sink's own cost. */
function nowhere(): Writable {
  return new Writable({
    highWaterMark: 8 * mmdump.MiB,
    write: (_chunk, _encoding, done) => done(),
  });
}
