/**
 * Dumps address spaces as a container file of OpenVZ 6. All workers dump a native image first, to
 * a file without a name beside the output, or to memory. The container file is made of it when the
 * address spaces are released. docs/decisions/openvz-files.md says why.
 */
import { randomBytes } from 'node:crypto';
import { unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MmdumpError } from '../../../shared/errors.ts';
import type { ResolvedOptions } from '../../dump/options.ts';
import { withSink } from '../../dump/output.ts';
import { type DumpProgress, type DumpReport, Stopwatch } from '../../dump/report.ts';
import { type Image, openImage } from '../../image/image.ts';
import type { Deadline } from '../../job/stop.ts';
import { fileSink } from '../../sinks/file-sink.ts';
import { memorySink } from '../../sinks/memory-sink.ts';
import { outputFailed } from '../../sinks/output-error.ts';
import { PathSink } from '../../sinks/path-sink.ts';
import type { Sink } from '../../sinks/sink.ts';
import { lossesInOpenvz, lostState } from '../losses.ts';
import { writeOpenvz } from './write-openvz.ts';

/** Milliseconds between two calls of `onProgress`. */
const PROGRESS_MS = 100;

/** `native` dumps a native image with other options. */
export async function dumpOpenvz(
  native: (options: ResolvedOptions) => Promise<DumpReport>,
  options: ResolvedOptions,
  deadline: Deadline,
): Promise<DumpReport> {
  const { to, dryRun } = options;
  if (dryRun) {
    const text = "format: the length of an OpenVZ file is not known before it is made: use 'cpt'";
    throw new MmdumpError('OPTION_INVALID', text);
  }
  if (to.kind === 'stream') {
    const text = `output: '${to.path ?? 'a stream'}': an OpenVZ file needs a file`;
    throw new MmdumpError('OPTION_INVALID', text);
  }
  const watch = new Stopwatch();
  return await withSink(to, deadline, async () => {
    let last: DumpProgress | undefined;
    const onProgress = (progress: DumpProgress): void => {
      last = progress;
      options.onProgress?.(progress);
    };
    // What a sink of a program calls its path need be none.
    const between = to instanceof PathSink ? besides(to.path) : inMemory();
    try {
      const chosen = { ...options, blockPerPage: false, sizeLimit: undefined, onProgress };
      const report = await native({ ...chosen, to: between.sink });
      const image = await between.open();
      watch.lap();
      const made = await makeOf(image, options, deadline, last).finally(() => image.close());
      return reportOf(report, to, made, watch);
    } finally {
      await between.remove();
    }
  });
}

/** The container file that was made. */
interface Made {
  readonly bytes: number;
  readonly warnings: readonly string[];
}

async function makeOf(
  image: Image,
  { to, sizeLimit, onProgress }: ResolvedOptions,
  deadline: Deadline,
  last: DumpProgress | undefined,
): Promise<Made> {
  const losses = await Promise.all(image.mms().map((mm) => lossesInOpenvz(image, mm)));
  let told = performance.now();
  const tell = (bytes: number, totalBytes: number): void => {
    const now = performance.now();
    if (last === undefined || (bytes < totalBytes && now - told < PROGRESS_MS)) return;
    told = now;
    onProgress?.({ ...last, bytes, totalBytes, etaMs: null });
  };
  const request = { to, isOpen: true, mm: undefined, sizeLimit, deadline, onProgress: tell };
  return {
    bytes: await writeOpenvz(image, request),
    warnings: [...lostState(image), ...losses.flat()],
  };
}

function reportOf(
  report: DumpReport,
  to: Sink,
  { bytes, warnings }: Made,
  watch: Stopwatch,
): DumpReport {
  const copy = report.ms.copy + watch.lap();
  const total = watch.total();
  const { path, parts } = to;
  const format = 'openvz';
  return {
    ...report,
    image: { path, format, bytes, id: '', ...(parts === undefined ? {} : { parts }) },
    warnings,
    ms: { ...report.ms, copy, total },
    bytesPerSecond: Math.round(bytes / (total / 1000)),
  };
}

/** Where the native image lies meanwhile. */
interface Between {
  readonly sink: Sink;
  /** Opens the image, and removes its name: nothing is left behind, whatever happens. */
  open(): Promise<Image>;
  remove(): Promise<void>;
}

function inMemory(): Between {
  const sink = memorySink();
  return {
    sink,
    open: () => openImage(sink.image),
    remove: async () => sink.release(),
  };
}

function besides(output: string): Between {
  const path = join(dirname(output), `.mmdump-${randomBytes(6).toString('hex')}.cpt`);
  const remove = async (): Promise<void> => {
    await unlink(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return;
      throw outputFailed(path, 'is not needed any more, and cannot be removed', error);
    });
  };
  return {
    sink: fileSink(path, { sync: false }),
    open: async () => {
      const image = await openImage(path);
      await remove();
      return image;
    },
    remove,
  };
}
