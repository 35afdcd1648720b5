/** Where `dump -o` writes: one file, several files, standard output, a pipe or a device. */
import { createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { MmdumpError } from '../../shared/errors.ts';
import { fileSink } from '../sinks/file-sink.ts';
import { NoSink } from '../sinks/no-sink.ts';
import type { Sink } from '../sinks/sink.ts';
import { splitSink } from '../sinks/split-sink.ts';
import { streamSink } from '../sinks/stream-sink.ts';
import type { OutputRequest } from './dump-request.ts';

export interface Output {
  readonly sink: Sink;
  /** The name that people read. */
  readonly name: string;
  /** Whether the image goes to standard output, so that the summary has to go elsewhere. */
  readonly isStdout: boolean;
}

/** The output of a dry run. */
export const NO_OUTPUT: Output = { sink: new NoSink(), name: 'dry run', isStdout: false };

/**
 * Makes the sink for an output path. A file is checked now, before any process has to stand still.
 * A pipe or a device is written as a stream.
 */
export async function openOutput({ path, force, sync, split }: OutputRequest): Promise<Output> {
  if (split !== undefined) {
    const sink = splitSink(path, { ...split, force, sync });
    await sink.check();
    return { sink, name: path, isStdout: false };
  }
  if (path === '-') return { sink: stdoutSink(force), name: 'standard output', isStdout: true };
  const stream = await streamTo(path);
  if (stream !== undefined) {
    return { sink: streamSink(stream, { name: path }), name: path, isStdout: false };
  }
  const sink = fileSink(path, { force, sync });
  await sink.check();
  return { sink, name: path, isStdout: false };
}

/** Standard output stays open, because other programs may use the same one. */
function stdoutSink(force: boolean): Sink {
  if (process.stdout.isTTY && !force) {
    throw new MmdumpError(
      'OPTION_INVALID',
      "output: '-': standard output is a terminal: redirect it, or use --force",
    );
  }
  return streamSink(process.stdout, { name: 'standard output', end: false });
}

/** A stream into a pipe, a socket or a device; undefined for any other path. */
async function streamTo(path: string): Promise<Writable | undefined> {
  try {
    const found = await stat(path);
    if (found.isFIFO()) {
      const { pipeOutput } = await import('./pipe-output.ts'); // few outputs are pipes
      return pipeOutput(path); // it waits for a reader while the work goes on
    }
    return found.isCharacterDevice() || found.isSocket() ? createWriteStream(path) : undefined;
  } catch {
    return undefined; // if something is wrong, the file sink reports it
  }
}
