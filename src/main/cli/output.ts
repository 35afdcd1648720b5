/** Where `dump -o` writes: a file, standard output, or whatever else a path leads to. */
import { createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { MmdumpError } from '../../shared/errors.ts';
import { fileSink } from '../sinks/file-sink.ts';
import type { Sink } from '../sinks/sink.ts';
import { streamSink } from '../sinks/stream-sink.ts';

export interface Output {
  readonly sink: Sink;
  /** For people. */
  readonly name: string;
  /** The image goes where the summary would go. */
  readonly isStdout: boolean;
}

/**
 * The sink for an output path. A file is checked now, before the work, and before a process has to
 * stand still. A pipe or a device is written through, as a stream.
 */
export async function openOutput(path: string, force: boolean): Promise<Output> {
  if (path === '-') return { sink: stdoutSink(force), name: 'standard output', isStdout: true };
  if (await isStream(path)) {
    // Opening a pipe waits for its reader: that happens beside the work.
    const sink = streamSink(createWriteStream(path), { name: path });
    return { sink, name: path, isStdout: false };
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

async function isStream(path: string): Promise<boolean> {
  try {
    const found = await stat(path);
    return found.isFIFO() || found.isCharacterDevice() || found.isSocket();
  } catch {
    return false; // the file sink says what is wrong, if anything is
  }
}
