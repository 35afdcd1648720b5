/** Where `dump -o` writes: a file, several, standard output, or whatever else a path leads to. */
import { createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { MmdumpError } from '../../shared/errors.ts';
import { fileSink } from '../sinks/file-sink.ts';
import { NoSink } from '../sinks/no-sink.ts';
import type { Sink } from '../sinks/sink.ts';
import { splitSink } from '../sinks/split-sink.ts';
import { streamSink } from '../sinks/stream-sink.ts';
import { pipeOutput } from './pipe-output.ts';
import type { Split } from './sizes.ts';

export interface Output {
  readonly sink: Sink;
  /** For people. */
  readonly name: string;
  /** The image goes where the summary would go. */
  readonly isStdout: boolean;
}

/** Of a dry run. */
export const NO_OUTPUT: Output = { sink: new NoSink(), name: 'dry run', isStdout: false };

/**
 * The sink for an output path. A file is checked now, before the work, and before a process has to
 * stand still. A pipe or a device is written through, as a stream.
 */
export async function openOutput(
  path: string,
  force: boolean,
  split: Split | undefined,
): Promise<Output> {
  if (split !== undefined) {
    const sink = splitSink(path, { ...split, force });
    await sink.check();
    return { sink, name: path, isStdout: false };
  }
  if (path === '-') return { sink: stdoutSink(force), name: 'standard output', isStdout: true };
  const stream = await streamTo(path);
  if (stream !== undefined) {
    return { sink: streamSink(stream, { name: path }), name: path, isStdout: false };
  }
  const sink = fileSink(path, { force });
  await sink.check();
  return { sink, name: path, isStdout: false };
}

/** Standard output stays open: others in the pipeline may have it, too. */
function stdoutSink(force: boolean): Sink {
  if (process.stdout.isTTY && !force) {
    throw new MmdumpError(
      'OPTION_INVALID',
      "output: '-': standard output is a terminal: redirect it, or use --force",
    );
  }
  return streamSink(process.stdout, { name: 'standard output', end: false });
}

/** A stream into a pipe or a device; undefined for what is no such thing. */
async function streamTo(path: string): Promise<Writable | undefined> {
  try {
    const found = await stat(path);
    if (found.isFIFO()) return pipeOutput(path); // it waits for its reader beside the work
    return found.isCharacterDevice() || found.isSocket() ? createWriteStream(path) : undefined;
  } catch {
    return undefined; // the file sink says what is wrong, if anything is
  }
}
